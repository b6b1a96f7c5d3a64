"""Cause and cure of the replies that people meet, in a plain sentence.  Pure.

The first row that fits is the answer: what we found ourselves comes first, then what one provider
says, then what everybody says.  A reply is looked at without regard to case, and only its
beginning; addresses of hosts and versions of programs, parts of which look like a status code
(95.7.25.3), are left out.
"""

import functools
import re

_MOST = 2000
"""Characters of a reply that are looked at."""

_LOGIN = "then run pymail login"
_APP = f"make an application password in the settings of the account, {_LOGIN}"
_RELAY = "send through your provider: set relayhost"
"""Who is told so is refused for the address of this machine: see wants_relay()."""

_dotted = re.compile(r"\.?\d+(?:\.\d+){2,}(?:\.(?=\w))?")
_is_status = re.compile(r"[245](?:\.\d{1,3}){2}").fullmatch

RULES: tuple[tuple[str, str], ...] = (
    # --- what we found ourselves ---
    (
        r"^smtputf8 is required",
        "An address with letters beyond ASCII cannot be reached through this server: use another"
        " relay, or an address in ASCII.",
    ),
    (
        r"its mta-sts policy|^mta-sts",
        "The domain publishes a policy (MTA-STS) that no server we found fits: its postmaster must"
        " mend it, or somebody on the way pretends to be that domain.",
    ),
    (
        r"cannot trust .*(?:certificate|name|fingerprint)|certificate verify failed",
        "The server does not prove its name: check the name in relayhost and the clock of this"
        " machine; for an authority of your own set smtp_tls_CAfile.",
    ),
    (
        r"tls is required|cannot start tls",
        "There is no TLS with this server, and without it we do not log in or send: check host"
        " and port of relayhost (587, or 465).",
    ),
    (
        r"^cannot log in .*(?:offers no auth|allows none of)",
        "The server offers no login that is allowed here: check the port of relayhost (587 or"
        " 465) and smtp_sasl_mechanism_filter.",
    ),
    (
        r"(?:^|: )connect to .*:25: .*(?:timed out|unreachable|no route)",
        "Nothing answers on port 25; many providers block it for their customers: set relayhost"
        " to your provider's server with port 587.",
    ),
    (
        r"(?:^|: )connect to .*connection refused",
        "No mail server listens there: check host and port (587 or 465) in relayhost.",
    ),
    (
        r"(?:^|: )connect to .*(?:timed out|unreachable|no route)",
        "The server cannot be reached from here: check host and port in relayhost, the network and"
        " the firewall.",
    ),
    (
        r"(?:^|: )(?:lost connection with|conversation with .*timed out)",
        "The connection to the server broke or came to a stop; flush tries again. If it happens"
        " each time, look for a firewall or a bad line.",
    ),
    (
        r"name service error.*try again|cannot find host|temporary failure in name resolution",
        "DNS gives no answer: check the network and /etc/resolv.conf; flush tries again.",
    ),
    (
        r"name service error|host or domain name not found|recipient address rejected: domain"
        r"|4\.1\.2\b|5\.1\.2\b",
        "There is no such domain, or it has no mail server: check how the address is written.",
    ),
    (
        r"inet_protocols leaves out",
        "The host has no address of a kind that inet_protocols allows: set it to all.",
    ),
    (
        r"loops back to myself|unable to find primary relay",
        "DNS says that mail for that domain comes to this machine: add the domain to mydestination"
        " if it is ours, else set a transport or relayhost for it.",
    ),
    (
        r"null ?mx|5\.1\.10\b.*does not accept|does not accept mail",
        "That domain says of itself that it takes no mail: check how the address is written.",
    ),
    (
        r"mail forwarding loop|too many hops|hop count exceeded|mail loop|[45]\.4\.6\b|5\.4\.14\b",
        "The message goes round in a circle between servers or addresses: look at forwarding and"
        " aliases on both sides (pymail explain shows ours).",
    ),
    # --- logins ---
    (
        r"the token is refused",
        "The server refuses the token: it has expired, or is not for this server and user: look at"
        " what password_command prints, or sign in at the provider anew.",
    ),
    (
        r"application-specific password required|invalidsecondfactor",
        f"Google wants an application password, not that of the account: {_APP}.",
    ),
    (
        r"badcredentials|5\.7\.8 username and password not accepted",
        "Google refused user and password; with two-step verification it takes only an"
        f" application password: {_APP}.",
    ),
    (
        r"webloginrequired|please log in (?:via|with) your web browser",
        "Google wants you to sign in with a browser first: do so, then make an application"
        " password and run pymail login.",
    ),
    (
        r"smtpclientauthentication is disabled",
        "Login over SMTP is switched off for this mailbox or organisation at Microsoft: its"
        " administrator must allow authenticated SMTP.",
    ),
    (
        r"basic authentication is disabled|5\.7\.139\b.*security defaults",
        "Microsoft takes no passwords for this account: use a token (OAuth2: see password_command"
        " and smtp_sasl_mechanism_filter), or another relay.",
    ),
    (
        r"5\.7\.57\b|client not authenticated to send",
        "Microsoft takes mail here only after a login: run pymail login for the server in"
        " relayhost, with port 587.",
    ),
    (
        r"application.?password|app.?password|пароль приложения|parol prilozheniya"
        r"|does not have access rights to this service",
        "The provider wants a password made for mail programs: allow them in the settings, and"
        f" {_APP}.",
    ),
    (
        r"authentication failed: invalid user or password",
        "The provider refused user and password (Yandex takes only application passwords):"
        f" {_APP}.",
    ),
    (
        r"too many (?:failed|bad|login|invalid|auth)|(?:account|user) (?:is |has been )?"
        r"(?:temporarily )?(?:locked|blocked)|auth005|5\.7\.139\b.*locked",
        "The provider has locked logins of this account: sign in on its web site and see what it"
        f" asks for, {_LOGIN}.",
    ),
    (
        r"sasl authentication failed.* said: 4\d\d\b|(?:^|: )454\b.{0,60}\bauth"
        r"|temporary authentication (?:failure|error)|authentication .{0,20}temporar",
        "The server has trouble with logins at the moment; flush tries again.",
    ),
    (
        r"(?:^|: )535\b|[45]\.7\.8\b|5\.7\.139\b|authentication (?:credentials invalid|failed"
        r"|failure|unsuccessful)|incorrect authentication|(?:bad|invalid|wrong) (?:login"
        r"|credentials|username|password)",
        "The server refuses user or password (many take only a password made for mail programs):"
        f" check them, {_LOGIN}.",
    ),
    (
        r"must issue a starttls|starttls .{0,40}(?:first|required)"
        r"|encryption (?:is )?(?:required|needed)"
        r"|(?:tls|ssl) (?:is )?(?:required|needed)|(?:^|: )538\b|5\.7\.1[01]\b",
        "The server wants TLS first: set smtp_tls_security_level to encrypt or secure.",
    ),
    (
        r"not owned by|must be equal|5\.7\.60\b|permissions? to send as|send ?as ?denied"
        r"|not local sender|5\.2\.252\b|sender .{0,40}(?:must match|not allowed|not authori[sz]ed)"
        r"|not allowed to (?:use|send)|sender address rejected: not logged in",
        "The server lets you send only as your own address: map yours to it in smtp_generic_maps.",
    ),
    (
        r"auth(?:entication)? (?:is )?required|(?:^|: )530\b|must (?:be )?authenticat|log ?in first"
        r"|smtp auth|wantautherror|unauthenticated (?:senders|users) not",
        "The server takes mail only after a login: run pymail login for it.",
    ),
    # --- who we say we are ---
    (
        r"(?:helo|ehlo)\b.{0,60}(?:reject|invalid|need fully|fully.?qualified|not match|resolve)"
        r"|fqdn required|(?:invalid|bad) helo|need fully-qualified hostname",
        "The name that we say at the beginning is not accepted: set smtp_helo_name to a name that"
        " leads to the address of this machine.",
    ),
    (
        r"[45]\.1\.8\b|domain of sender|sender address rejected: .{0,40}domain|sender verify failed"
        r"|verification failed for|(?:invalid|unknown|unresolvable) sender domain|domain not found",
        "The domain of the sender's address does not exist in DNS: set myorigin, or map local"
        " addresses to a real one in smtp_generic_maps.",
    ),
    # --- SPF, DKIM, DMARC ---
    (
        r"\bdmarc\b|[45]\.7\.509\b|unauthenticated e?mail from",
        "The policy (DMARC) of the domain in From forbids mail that its own servers have not sent"
        " or signed: send through that domain's relay, or use another address in From.",
    ),
    (
        r"unauthenticated|[45]\.7\.26\b|[45]\.7\.515\b|required authentication level"
        r"|authenticate with either",
        "The server takes only mail with valid SPF or DKIM of the sender's domain: send through"
        " that domain's relay, or list this machine in SPF and sign (pymail dkim).",
    ),
    (
        r"\bspf\b|openspf|[45]\.7\.2[347]\b|sender policy framework|not (?:a )?designated",
        "The sender's domain does not list this machine in its SPF record: send through its relay,"
        " add this machine to the record, or map the sender in smtp_generic_maps.",
    ),
    (
        r"\bdkim\b|[45]\.7\.(?:2[0-2]|30)\b",
        "The server misses a valid DKIM signature of the sender's domain: send through that"
        " domain's relay, or make a key (pymail dkim new).",
    ),
    # --- where we come from ---
    (
        r"ipv6 sending guidelines|ipv6.{0,80}(?:\bptr\b|authentication)",
        "The server asks more of IPv6 (PTR, and SPF or DKIM) than this machine has: set"
        ' inet_protocols = "ipv4", or mend the records.',
    ),
    (
        r"[45]\.7\.25\b|\bptr\b|reverse (?:dns|lookup|hostname|name)|\br(?:ev)?dns\b"
        r"|cannot find your (?:reverse )?hostname",
        "The address of this machine has no name in DNS (PTR), or one that does not lead back: the"
        f" provider of the line must set it; or {_RELAY}.",
    ),
    (
        r"\bpbl\b|policy block list|\bdul\b|dul\.|dynamic (?:ip|address|pool)|\bdial-?up"
        r"|residential|end-?user ip|generic (?:hostname|ptr|reverse)"
        r"|not authori[sz]ed to send e?mail directly",
        "Private and dynamic lines, such as this one, are not to send mail directly:"
        f" {_RELAY} (port 587).",
    ),
    (
        r"\bs31[45]0\b|part of their network is on our block list|\brp-00\d\b"
        r"|banned send(?:ing|er)|5\.7\.(?:511|60[6-9]|6[1-4]\d)\b",
        "Microsoft blocks the address or the network of this machine: ask for its removal at"
        f" sender.office.com, or {_RELAY}.",
    ),
    (
        r"\bs77\d+|4\.7\.650\b|due to ip reputation|low reputation|\btss0[1-8]\b|user complaints"
        r"|unusual rate of unsolicited",
        "The server slows down mail from this address, which it does not know well or mistrusts:"
        f" send less and evenly (smtp_destination_rate_delay), or {_RELAY}.",
    ),
    (
        r"spam (?:url|link)|(?:black|block)list(?:ed)? (?:url|link)",
        "A link in the message is on a list of bad sites: leave it out.",
    ),
    (
        r"spamhaus|spamcop|barracuda|\b(?:sbl|xbl|css|rbl|dnsbl)\b|dnsbl"
        r"|(?:black|block|deny) ?-?list|listed (?:at|by|in|on)\b|\[bl\d+\]"
        r"|access from ip .{0,40}blocked",
        "The address of this machine is on a block list: the link in the reply says why and how to"
        f" get off; until then {_RELAY}.",
    ),
    # --- not now ---
    (
        r"gr[ae]y-?list|\[gl\d\d\]|greylisted|come back later|4\.7\.1 .{0,40}try again",
        "The server lets unknown senders wait (greylisting); flush tries again by itself: nothing"
        " is to be done.",
    ),
    (
        r"rate ?limit|message rate|at a rate that|too many (?:connections|messages|e?mails"
        r"|concurrent)|concurrent connections|4\.7\.28\b|throttl|unusual rate"
        r"|exceeded .{0,40}(?:limit|quota) .{0,40}(?:hour|day|minute|messages)|5\.4\.5\b"
        r"|daily .{0,20}limit"
        r"|sending (?:limit|quota)|(?:hourly|daily) (?:quota|limit)",
        "More was sent than the server allows in a time; the rest goes later. Where this is usual,"
        " set smtp_destination_rate_delay or a lower smtp_destination_concurrency_limit.",
    ),
    (
        r"too many recipients|[45]\.5\.3\b",
        "The message has more recipients than the server takes at once: set a lower"
        " smtp_destination_recipient_limit.",
    ),
    (
        r"unverified address|address verification in progress|4\.1\.1\b",
        "The server does not know yet whether the address exists; flush tries again. If it goes on,"
        " check how the address is written.",
    ),
    # --- the recipient ---
    (
        r"mailbox (?:is )?full|over ?quota|quota (?:is )?exceeded|exceeded .{0,40}quota"
        r"|[45]\.2\.2\b|out of storage|not enough (?:space|storage)|storage limit",
        "The recipient's mailbox is full: only its owner can make room; tell the person another"
        " way.",
    ),
    (
        r"5\.1\.1\b|5\.1\.10\b|user (?:is )?unknown|unknown (?:user|recipient|local part)"
        r"|no such (?:user|mailbox|person|recipient|address)"
        r"|(?:user|recipient|mailbox|address)(?: is)? (?:not found|does ?n.?t exist|unknown)"
        r"|does ?n.t have an? .{1,40}account|does not exist|invalid (?:recipient|mailbox)"
        r"|unrouteable address|not a valid mailbox|mailbox unavailable"
        r"|recipient address rejected: access denied|recipient verification failed"
        r"|нет такого (?:пользователя|адреса)",
        "There is no such address at that server: check how it is written.",
    ),
    (
        r"5\.2\.1\b|(?:mailbox|account|user|address) .{0,40}(?:disabled|inactive|suspended|closed"
        r"|deactivated|switched off)",
        "The recipient's mailbox is switched off: ask the person for another address.",
    ),
    (
        r"5\.1\.3\b|bad (?:recipient|destination) address|malformed address|address syntax",
        "The address is not written as an address: check it for commas, blanks and missing parts.",
    ),
    (
        r"relay(?:ing)? (?:access )?(?:is )?(?:denied|not permitted|not allowed|prohibited)"
        r"|unable to relay|do not relay|not permitted to relay|5\.7\.54\b|relay not",
        "The server does not pass on our mail: log in (pymail login), or it is the wrong"
        " relayhost.",
    ),
    # --- the message ---
    (
        r"[45]\.3\.4\b|5\.2\.3\b|message (?:size|length|too (?:big|large|long))|size limit"
        r"|exceed.{0,20}size|message is too|maximum (?:message )?size",
        "The message is larger than the server takes: put the file elsewhere and send a link, or"
        " send it in parts.",
    ),
    (
        r"virus|malware|infected|trojan",
        "The server found a virus in the message: look at its attachments.",
    ),
    (
        r"attachment|blocked (?:file|content)|file (?:type|extension)|potential security issue",
        "The server takes no attachments of this kind: send them another way, for instance as a"
        " link.",
    ),
    (
        r"line .{0,40}(?:too long|length)|line is too long",
        "The message has lines that are too long for the server: see smtp_line_length_limit.",
    ),
    (
        r"\brfc ?-?5?[28]22\b|messageid|message-id|malformed|[45]\.6\.0\b|multiple from"
        r"|missing (?:from|date|to|subject) header|bad header|header syntax",
        "The message breaks a rule of the mail format that the server enforces: mend the header"
        " that the reply names.",
    ),
    (
        r"spam|unsolicited|junk|bulk mail|suspicious|content (?:reject|policy)|message rejected"
        r"|(?:local|security) policy|policy (?:reasons|rejection|restriction)|\bas\(\d+\)",
        "The server takes the message for spam: see the link in its reply, change text and links,"
        " or ask its postmaster; mail with SPF and DKIM is trusted more.",
    ),
    (
        r"client host rejected|administrative(?:ly)? prohibi|access denied|not authori[sz]ed"
        r"|unauthorized|[45]\.7\.1\b|message (?:content )?(?:refused|blocked)|prohibited by",
        "The server refuses by a rule of its own: the reply may say which; ask its postmaster, or"
        " send through another server: set relayhost.",
    ),
    (
        r"(?:^|: )421\b|service (?:not |un)available|try again later|server busy"
        r"|temporar(?:y|ily) (?:local |server |system )?(?:failure|problem|error|unavailable"
        r"|deferred)"
        r"|system (?:busy|overload)|[45]\.3\.[0125]\b|disk full|insufficient system storage"
        r"|internal error",
        "The server has trouble of its own at the moment; flush tries again.",
    ),
)


@functools.lru_cache(maxsize=256)
def cure(reply: str) -> str:
    """Return cause and cure of a reply, or of what we met ourselves; "" where it is not known."""
    text = _dotted.sub(_status_only, reply[:_MOST])
    return next((words for rule, words in _compiled() if rule.search(text)), "")


def wants_relay(reply: str) -> bool:
    """Say whether a reply refuses this machine, not the message: another way out would do."""
    return _RELAY in cure(reply)


def _status_only(found: re.Match[str]) -> str:
    return found[0] if _is_status(found[0]) else "*"


@functools.cache
def _compiled() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(rule, re.IGNORECASE), words) for rule, words in RULES)
