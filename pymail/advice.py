"""Cause and cure of the replies that people meet, in a plain sentence.  Pure.

The first row that fits is the answer, so the rows of one provider come before what everybody
says.  A reply is looked at without regard to case, and only its beginning.
"""

import functools
import re

_MOST = 2000
"""Characters of a reply that are looked at."""

_LOGIN = "run pymail login with it"
_APP = f"make an application password in the account's settings and {_LOGIN}"

RULES: tuple[tuple[str, str], ...] = (
    # --- logins ---
    (
        r"application-specific password required|5\.7\.9.*gmail|gsmtp.*5\.7\.9",
        f"Google wants an application password, not that of the account: {_APP}.",
    ),
    (
        r"badcredentials|5\.7\.8 .*google",
        "Google refused user and password; with two-step verification it takes only an"
        f" application password: {_APP}.",
    ),
    (
        r"basic authentication is disabled|5\.7\.139|5\.7\.57",
        "Microsoft takes no passwords any more for this account: use a token (XOAUTH2, see"
        " smtp_sasl_mechanism_filter and password_command), or another relay.",
    ),
    (
        r"smtpclientauthentication is disabled",
        "SMTP logins are switched off for this tenant or mailbox: its administrator must switch"
        " on authenticated SMTP.",
    ),
    (
        r"application password|app.?password|пароль приложения|parol prilozheniya"
        r"|this user does not have access rights to this service",
        f"The provider wants a password made for programs: {_APP}.",
    ),
    (
        r"invalid user or password.*yandex|yandex.*535|535 5\.7\.8 error: authentication failed:"
        r" (?:invalid user or password|this user does not)",
        f"Yandex refused the login; it takes only application passwords: {_APP}, and allow mail"
        " programs there.",
    ),
    (
        r"account (?:is )?(?:locked|suspended|disabled|blocked)|too many (?:failed|login)",
        "The provider has locked the account: sign in on its web site, see what it asks for, then"
        f" {_LOGIN}.",
    ),
    (
        r"^535|5\.7\.8|authentication (?:credentials invalid|failed|unsuccessful|failure)"
        r"|incorrect authentication|bad username or password|invalid (?:login|credentials)",
        f"The server refuses user or password: check them, then {_LOGIN}.",
    ),
    (
        r"must issue a starttls|starttls (?:first|required)|encryption required|5\.7\.0.*tls"
        r"|538|5\.7\.11",
        "The server wants TLS first: set smtp_tls_security_level to encrypt or secure.",
    ),
    (
        r"authentication (?:is )?required|5\.7\.0 .*auth|^530|must (?:be )?authenticat|smtp auth"
        r"|log ?in first",
        "The server takes mail only after a login: run pymail login for it.",
    ),
    # --- who we say we are ---
    (
        r"not owned by (?:user|auth)|sender address rejected: not (?:owned|logged)"
        r"|sender.{0,40}(?:must match|is not allowed|not authori[sz]ed)|send ?as ?denied"
        r"|not local sender|5\.2\.252|you are not allowed to (?:use|send)",
        "The server lets you send only as your own address: map yours to it in smtp_generic_maps.",
    ),
    (
        r"domain of sender address.*(?:not exist|not found)|sender address rejected: domain"
        r"|5\.1\.8|sender verify failed|invalid sender domain|domain not found",
        "The domain of the sender's address does not exist in DNS: set myorigin, or map local"
        " addresses to a real one in smtp_generic_maps.",
    ),
    (
        r"helo.{0,40}(?:reject|invalid|need fully|fully.?qualified|not match|resolve)"
        r"|fqdn required|invalid helo|bad helo|need fully-qualified hostname",
        "The name that we say at the beginning is not accepted: set smtp_helo_name to a name that"
        " leads to the address of this machine.",
    ),
    # --- where we come from ---
    (
        r"spamhaus.*pbl|pbl\.spamhaus|\bpbl\b|policy block list",
        "The address of this machine is on a list of addresses that should not send mail directly:"
        " send through your provider: set relayhost.",
    ),
    (
        r"dynamic (?:ip|address|pool)|dial-?up|generic (?:r?dns|ptr|reverse)|residential"
        r"|end-?user ip|dul\b|5\.7\.1 .*dynamic",
        "The server takes no mail from dynamic or private lines: send through your provider: set"
        " relayhost.",
    ),
    (
        r"5\.7\.25|4\.7\.25|ptr record|reverse dns|no ptr|rdns"
        r"|cannot find your (?:reverse )?hostname|client host rejected: cannot find",
        "The address of this machine has no name in DNS, or one that does not lead back: the"
        " provider of the line must set its PTR record; or set relayhost.",
    ),
    (
        r"spamhaus|sbl|xbl|spamcop|barracuda|\brbl\b|blocklist|black ?list|blacklisted|block list"
        r"|listed (?:at|by|in|on)",
        "The address of this machine is on a block list: see the link in the reply; until it is"
        " taken off, set relayhost.",
    ),
    (
        r"s3140|s3150|part of their network is on our block list",
        "Outlook blocks the network of this machine: ask for its removal at sender.office.com, or"
        " set relayhost.",
    ),
    (
        r"banned sending ip|5\.7\.511|5\.7\.606|access denied, banned",
        "Microsoft has banned the address of this machine: delist it at sender.office.com, or set"
        " relayhost.",
    ),
    (
        r"ipv6.*(?:sending guidelines|ptr|authentication)|sending guidelines regarding ptr",
        "The server asks more of IPv6 than this machine has (PTR, SPF or DKIM): set inet_protocols"
        ' = "ipv4", or mend the records.',
    ),
    # --- SPF, DKIM, DMARC ---
    (
        r"dmarc|5\.7\.509|5\.7\.1 .*policy of the (?:sender|domain)",
        "The policy (DMARC) of the domain in From forbids mail that is not signed or sent by its"
        " own servers: send through that domain's relay, or use a From of your own.",
    ),
    (
        r"spf|5\.7\.23|5\.7\.24|not (?:a )?designated|sender policy framework",
        "The domain of the sender does not list this machine in its SPF record: send through its"
        " relay, add this machine to the record, or map the sender in smtp_generic_maps.",
    ),
    (
        r"5\.7\.26|unauthenticated (?:email|mail|sender)|dkim",
        "The server takes only mail with valid SPF or DKIM for the sender's domain: send through"
        " that domain's relay, or see pymail dkim.",
    ),
    (
        r"messages? missing a valid messageid|message-?id.*(?:missing|invalid)|5\.7\.1 .*rfc ?5322"
        r"|not rfc ?5322 compliant|missing (?:from|date|to) header|multiple from",
        "The message breaks a rule of mail format that the server enforces: mend the header that"
        " the reply names.",
    ),
    # --- not now ---
    (
        r"gr[ae]y-?list|^45[01] 4\.7\.1 .*(?:try again|come back|later)|temporarily deferred"
        r"|please retry|4\.2\.0 .*grey",
        "The server wants to see whether we try again (greylisting); flush does: nothing is to be"
        " done.",
    ),
    (
        r"rate ?limit|too many (?:connections|messages|emails|recipients from)|4\.7\.28"
        r"|4\.7\.0 .*rate|throttl|exceeded.*(?:limit|quota).*(?:hour|day|minute|messages)"
        r"|5\.4\.5|daily|sending (?:limit|quota)|unusual rate",
        "We sent more than the server allows in a time; the rest goes later. Where this is usual,"
        " set smtp_destination_rate_delay or a lower smtp_destination_concurrency_limit.",
    ),
    (
        r"too many recipients|4\.5\.3|5\.5\.3",
        "The message has more recipients than the server takes at once: set a lower"
        " smtp_destination_recipient_limit.",
    ),
    (
        r"^421|service (?:not available|unavailable)|try again later|temporary (?:failure|problem|"
        r"error)|temporarily unavailable|system (?:busy|overload)|4\.3\.[0-2]",
        "The server has trouble of its own at the moment; flush tries again.",
    ),
    # --- the recipient ---
    (
        r"mailbox (?:is )?full|over ?quota|quota exceeded|[45]\.2\.2|insufficient (?:disk|storage)"
        r"|not enough (?:space|storage)|storage limit",
        "The recipient's mailbox is full: only its owner can make room.",
    ),
    (
        r"[45]\.2\.1|(?:mailbox|account|user|address) (?:is |has been |was )?"
        r"(?:disabled|inactive|suspended|closed|deactivated|unavailable for receiving)",
        "The recipient's mailbox is switched off: ask the person for another address.",
    ),
    (
        r"5\.1\.1|[5]\.1\.10|user (?:is )?unknown|unknown user|no such (?:user|mailbox|person|"
        r"recipient|address)|(?:user|recipient|mailbox|address)"
        r" (?:not found|does ?n.?t exist|unknown|rejected: user)|invalid (?:recipient|mailbox)"
        r"|unrouteable address|not a valid mailbox"
        r"|mailbox unavailable|does not like recipient",
        "There is no such address at that server: check how it is written.",
    ),
    (
        r"relay(?:ing)? (?:access )?(?:is )?(?:denied|not permitted|not allowed|prohibited)"
        r"|relay not|unable to relay|we do not relay|5\.7\.54|relaying denied"
        r"|not permitted to relay",
        "The server does not send mail on for us: log in (pymail login), or it is the wrong"
        " relayhost.",
    ),
    (
        r"null ?mx|5\.1\.10|does not accept mail",
        "That domain says of itself that it takes no mail: check how the address is written.",
    ),
    # --- the message ---
    (
        r"[45]\.3\.4|message (?:size|too (?:big|large|long))|exceeds (?:size|maximum|fixed|the)"
        r"|size limit|message is too|maximum (?:message )?size",
        "The message is larger than the server takes: send it in parts, or put the file elsewhere"
        " and send a link.",
    ),
    (
        r"virus|malware|infected|trojan",
        "The server found a virus in the message: look at its attachments.",
    ),
    (
        r"attachment|blocked (?:file|content)|5\.7\.0 this message was blocked"
        r"|file (?:type|extension)|potential security issue",
        "The server takes no attachments of that kind: pack it otherwise, or send a link.",
    ),
    (
        r"spam|unsolicited|junk|bulk mail|content (?:reject|policy)|policy (?:reasons|rejection)"
        r"|message (?:content )?rejected|5\.7\.1 .*(?:reject|block|refus)"
        r"|administratively prohibited",
        "The server takes the message for spam or forbids it by a rule of its own: see the link in"
        " its reply, or ask its postmaster.",
    ),
    # --- what we found ourselves ---
    (
        r"smtputf8 is required",
        "An address with other letters than ASCII cannot be reached through that server: use"
        " another relay, or an address in ASCII.",
    ),
    (
        r"certificate|cannot trust",
        "The server cannot prove its name: check relayhost and the clock, or set smtp_tls_CAfile"
        " for an authority of your own.",
    ),
    (
        r"tls is required|cannot start tls",
        "The server offers no TLS that both sides know, and without it a login is not told to"
        " anybody: check the port (587 or 465).",
    ),
    (
        r"allows none of|offers no auth",
        "The server offers no way to log in that is allowed here: check the port (587 or 465) and"
        " smtp_sasl_mechanism_filter.",
    ),
    (
        r"connect to .*:25: (?:connection timed out|timed out|network is unreachable|no route)",
        "Nothing answers on port 25: most lines block it; send through your provider: set"
        " relayhost with port 587.",
    ),
    (
        r"connect to .*connection refused",
        "Nobody listens there: check host and port (587 or 465) of relayhost.",
    ),
    (
        r"connect to .*(?:timed out|no route|unreachable)",
        "The server cannot be reached from here: check host and port, and the firewall.",
    ),
    (
        r"name service error.*try again|no name server|cannot find host",
        "DNS gives no answer: check the network and /etc/resolv.conf.",
    ),
    (
        r"name service error|host or domain name not found",
        "There is no such domain: check how the address is written.",
    ),
    (
        r"loops back to myself|too many hops|forwarding loop|5\.4\.6",
        "The message goes round in a circle: see pymail explain for the address.",
    ),
)


@functools.lru_cache(maxsize=256)
def cure(reply: str) -> str:
    """Return cause and cure of a reply, or of what we met ourselves; "" where it is not known."""
    text = reply[:_MOST]
    return next((words for rule, words in _compiled() if rule.search(text)), "")


@functools.cache
def _compiled() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(rule, re.IGNORECASE), words) for rule, words in RULES)
