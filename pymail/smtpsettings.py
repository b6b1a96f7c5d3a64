"""The settings of mail that leaves the machine: one table with config.py, which is their home.

Names and meanings are those of Postfix's smtp(8), trivial-rewrite(8) and cleanup(8).
"""

from pymail.settings import Table, row

_DOMAIN = {
    "pattern": r"!?[^\s@/:;,<>()\[\]\"\\$]+",
    "wanted": "the name of a domain",
}
_NEXT_HOP = {
    "pattern": r"(?:\[[^\s\[\]]+\]|[^\s\[\]:/@]+)(?::\w+)?",
    "wanted": "a host: domain, [host], domain:port or [host]:port",
}
_LEVELS = ("none", "may", "encrypt", "verify", "secure", "fingerprint")
_OPTIONS = {
    "pattern": "noplaintext|noactive|nodictionary|noanonymous|mutual_auth",
    "wanted": "one of noplaintext, noactive, nodictionary, noanonymous, mutual_auth",
}
_FILE = {"pattern": r"(?:/.+)?", "wanted": "a path that starts with /"}
_NAMES = {
    "pattern": r"hostname|nexthop|dot-nexthop|[\w.-]+",
    "wanted": "hostname, nexthop, dot-nexthop or the name of a host",
}


def _timeout(default: str, words: str) -> int:
    value: int = row("time", default, f"how long to wait {words}", low=1, high=86400)
    return value


class SmtpSettings:
    """Where mail for other domains goes, how its addresses are written, how it is spoken."""

    relayhost: tuple[str, ...] = row(
        "list",
        (),
        "the hosts that take mail for other domains, tried in this order",
        **_NEXT_HOP,
    )
    smtp_fallback_relay: tuple[str, ...] = row(
        "list",
        (),
        "the hosts tried when a destination cannot be reached, or refuses this machine",
        **_NEXT_HOP,
    )
    transport_maps: Table = row("map", (), "transport and next hop by recipient address or domain")
    sender_dependent_relayhost_maps: Table = row("map", (), "relayhost by sender")
    sender_canonical_maps: Table = row(
        "map", (), "what an address is written as where it is a sender"
    )
    masquerade_domains: tuple[str, ...] = row(
        "list", (), "domains whose subdomains are cut off from addresses", **_DOMAIN
    )
    masquerade_exceptions: tuple[str, ...] = row(
        "list", (), "user names that keep their subdomain", pattern=r"[^\s@]+", wanted="a user name"
    )
    smtp_generic_maps: Table = row(
        "map", (), "what a local address is written as in mail that leaves the machine"
    )
    smtp_sasl_auth_enable: bool = row("flag", True, "log in where there is a login for the host")
    smtp_sasl_password_maps: Table = row(
        "map", (), "login (user:password, or user) by relay host, or by sender"
    )
    smtp_sender_dependent_authentication: bool = row(
        "flag", False, "look for a login by sender first, then by host"
    )
    smtp_sasl_mechanism_filter: tuple[str, ...] = row(
        "list",
        (),
        "the only SASL mechanisms to use",
        pattern=r"[A-Za-z0-9_-]+",
        wanted="a mechanism",
    )
    smtp_sasl_security_options: tuple[str, ...] = row(
        "list", ("noplaintext", "noanonymous"), "what a login without TLS must not do", **_OPTIONS
    )
    smtp_sasl_tls_security_options: tuple[str, ...] = row(
        "list", ("noanonymous",), "what a login over TLS must not do", **_OPTIONS
    )
    password_command: str = row(
        "text", "", "a command that prints the password or token of a login", raw=True
    )
    smtp_tls_security_level: str = row(
        "text",
        "",
        "none, may, encrypt, verify, secure or fingerprint",
        shown="secure where there is a login, else may",
        pattern="|".join(("", *_LEVELS)),
        wanted="one of " + ", ".join(_LEVELS),
    )
    smtp_tls_wrappermode: bool = row(
        "flag", False, "TLS from the first byte; it always is on port 465"
    )
    smtp_tls_CAfile: str = row(  # noqa: N815  (Postfix's name)
        "text", "", "certificates of trusted authorities; else the machine's", **_FILE
    )
    smtp_tls_CApath: str = row(  # noqa: N815
        "text", "", "a directory of the same", **_FILE
    )
    smtp_tls_verify_cert_match: tuple[str, ...] = row(
        "list", ("hostname",), "names one of which the certificate has, at level verify", **_NAMES
    )
    smtp_tls_secure_cert_match: tuple[str, ...] = row(
        "list", ("nexthop", "dot-nexthop"), "the same at level secure", **_NAMES
    )
    smtp_tls_fingerprint_digest: str = row(
        "text",
        "sha256",
        "how fingerprints are made",
        pattern="sha1|sha256|sha512",
        wanted="sha1, sha256 or sha512",
    )
    smtp_tls_fingerprint_cert_match: tuple[str, ...] = row(
        "list",
        (),
        "fingerprints of certificates or of their keys, at level fingerprint",
        pattern=r"(?:[0-9A-Fa-f]{2}:?)+",
        wanted="a fingerprint in hexadecimal digits",
    )
    smtp_tls_mta_sts: bool = row(
        "flag", True, "obey the MTA-STS policies of domains that mail goes to directly"
    )
    dkim_directory: str = row(
        "text",
        "$dkim",
        "where the keys are that sign what is sent directly",
        shown="the directory dkim beside config.toml",
        pattern="/.+",
        wanted="a path that starts with /",
    )
    smtp_helo_name: str = row(
        "text",
        "",
        "the name that is said to other servers",
        shown="$myhostname where it has a dot and resolves, else the address of this machine",
        pattern=r"[^\s@/;,<>()\"\\$]*",
        wanted="the name of a host, or [address]",
    )
    inet_protocols: tuple[str, ...] = row(
        "list",
        ("all",),
        "protocols that mail is sent by",
        pattern="all|ipv4|ipv6",
        wanted="all, ipv4 or ipv6",
    )
    smtp_bind_address: str = row(
        "text",
        "",
        "the IPv4 address that mail leaves from",
        pattern=r"[0-9.]*",
        wanted="an IPv4 address",
    )
    smtp_bind_address6: str = row(
        "text",
        "",
        "the IPv6 address that mail leaves from",
        pattern=r"[0-9A-Fa-f:.]*",
        wanted="an IPv6 address",
    )
    smtp_mx_address_limit: int = row(
        "number", 5, "addresses that are tried for a domain; 0 is all", high=1000
    )
    smtp_mx_session_limit: int = row(
        "number", 2, "of these, connections that get as far as a greeting; 0 is all", high=1000
    )
    default_destination_concurrency_limit: int = row(
        "number", 20, "connections to one destination at one time", low=1, high=1000
    )
    smtp_destination_concurrency_limit: int = row(
        "number", 0, "the same for SMTP; 0 is $default_destination_concurrency_limit", high=1000
    )
    default_destination_recipient_limit: int = row(
        "number", 50, "recipients of one message in one transaction", low=1, high=10000
    )
    smtp_destination_recipient_limit: int = row(
        "number", 0, "the same for SMTP; 0 is $default_destination_recipient_limit", high=10000
    )
    default_destination_rate_delay: int = row(
        "time", 0, "the pause between messages to one destination", high=86400
    )
    smtp_destination_rate_delay: int = row(
        "time", 0, "the same for SMTP; 0 is $default_destination_rate_delay", high=86400
    )
    smtp_line_length_limit: int = row(
        "number",
        998,
        "bytes of a line that is sent; longer ones are encoded or folded",
        low=78,
        high=100000,
    )
    smtp_discard_ehlo_keywords: tuple[str, ...] = row(
        "list",
        (),
        "offers of servers that are not believed",
        pattern=r"[A-Za-z0-9_-]+",
        wanted="a keyword of EHLO",
    )
    smtp_connect_timeout: int = _timeout("30s", "for a connection")
    smtp_helo_timeout: int = _timeout("300s", "for the greeting, and for the reply to EHLO")
    smtp_starttls_timeout: int = _timeout("300s", "for the start of TLS")
    smtp_mail_timeout: int = _timeout("300s", "for the reply to MAIL, and to AUTH")
    smtp_rcpt_timeout: int = _timeout("300s", "for the reply to RCPT")
    smtp_data_init_timeout: int = _timeout("120s", "for the reply to DATA")
    smtp_data_xfer_timeout: int = _timeout("180s", "for the server to take more of a message")
    smtp_data_done_timeout: int = _timeout("600s", "for the reply to the message")
    smtp_rset_timeout: int = _timeout("20s", "for the reply to RSET")
    smtp_quit_timeout: int = _timeout("300s", "for QUIT to be sent; its reply is not waited for")
