"""Text of any language, in any character set, as a message that nobody can misread."""

import codecs
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import parseaddr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import charset, compose, words
from pymail.compose import Attachment, Draft
from pymail.recipients import Mailbox

# --- character sets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "codec"),
    [
        ({}, ""),
        ({"LC_ALL": "C", "LANG": "ru_RU.KOI8-R"}, ""),
        ({"LC_ALL": "", "LC_CTYPE": "ru_RU.KOI8-R", "LANG": "C"}, "koi8-r"),
        ({"LANG": "ru_RU.koi8r"}, ""),
        ({"LANG": "ru_RU.CP1251"}, "cp1251"),
        ({"LANG": "de_DE.ISO-8859-15@euro"}, "iso8859-15"),
        ({"LANG": "de_DE"}, "iso8859-1"),
        ({"LANG": "ja_JP.eucJP"}, "euc_jp"),
        ({"LANG": "ru_RU.UTF-8"}, ""),
        ({"LANG": "C.utf8"}, ""),
        ({"LANG": "xx_XX.nonsense"}, ""),
        ({"LANG": "xx.rot13"}, ""),
        ({"LANG": "xx.utf-7"}, ""),
        ({"LANG": "xx.utf-16"}, ""),
        ({"LANG": "xx.idna"}, ""),
        ({"LANG": "xx.unicode_escape"}, ""),
        ({"LANG": "ja_JP.ISO-2022-JP"}, ""),
        ({"LANG": "x.\0"}, ""),
    ],
)
def test_the_character_set_of_a_locale(env: dict[str, str], codec: str) -> None:
    if env == {"LANG": "ru_RU.koi8r"}:
        codec = charset.codec("koi8r")  # a spelling that not every Python knows
    assert charset.of_locale(env) == codec


@pytest.mark.parametrize(
    ("data", "local", "label"),
    [
        (b"plain", "koi8-r", "us-ascii"),
        ("да".encode(), "", "utf-8"),
        ("да".encode(), "koi8-r", "utf-8"),
        ("да".encode("koi8-r"), "koi8-r", "koi8-r"),
        ("да".encode("cp1251"), "cp1251", "windows-1251"),
        ("да".encode("koi8-r"), "", "iso-8859-1"),
        ("é".encode("iso8859-15"), "iso8859-15", "iso-8859-15"),
        ("日本".encode("euc-jp"), "euc_jp", "euc-jp"),
        (b"\x98", "cp1251", "iso-8859-1"),
        ("длинный текст".encode()[:-1], "", "utf-8"),
        ("журнал с мусором \0".encode() + b"\xff\xfe", "", "utf-8"),
    ],
)
def test_a_label_is_the_character_set_the_bytes_are_in(data: bytes, local: str, label: str) -> None:
    assert charset.label(data, local) == label


@given(st.binary(), st.sampled_from(["", "koi8-r", "cp1251", "euc_jp", "shift_jis", "big5"]))
def test_any_bytes_can_be_read_and_their_label_is_known(data: bytes, local: str) -> None:
    text = charset.decode(data, local)
    assert text.encode("utf-8", "strict") is not None
    codecs.lookup(charset.label(data, local))


@given(st.text(alphabet="абвгдежзийклмнопрстуфхцчшщъыьэюя ", min_size=1))
def test_russian_is_read_in_utf8_and_in_the_locales_own_set(text: str) -> None:
    for local in ("koi8-r", "cp1251"):
        assert charset.decode(text.encode(), local) == text
        assert charset.decode(text.encode(local), local) == text


# --- header fields --------------------------------------------------------------------------------


def unfolded(field: str) -> str:
    lines = field.split("\n")
    assert all(line.strip() for line in lines[1:]), "a line of blanks ends the header somewhere"
    assert all(line.startswith(" ") for line in lines[1:])
    return "".join(lines).partition(":")[2]


@given(st.text())
def test_any_subject_is_ascii_folded_and_reads_as_it_was(text: str) -> None:
    text = text.encode("utf-8", "replace").decode().replace("=?", "?")
    field = words.unstructured("Subject", text)
    assert field.isascii()
    assert "\r" not in field
    if all(len(word) < 60 for word in text.split(" ")):
        assert max(map(len, field.split("\n"))) <= 76
    assert max(map(len, field.split("\n"))) <= 998
    shown = str(make_header(decode_header(unfolded(field).strip(" "))))
    # Python's parser drops blanks between plain and encoded words; a reader shows one
    assert shown.split() == words.one_line(text).split()


def test_an_encoded_word_is_never_cut_inside_a_character() -> None:
    field = words.unstructured("Subject", "𝔘" * 40)
    for word in field.removeprefix("Subject: ").split("\n "):
        ((data, name),) = decode_header(word)
        assert set(data.decode(name)) == {"𝔘"}
        assert len(word) <= 75


def test_what_is_encoded_already_stays() -> None:
    assert words.unstructured("Subject", "=?utf-8?B?0Jg=?= x") == "Subject: =?utf-8?B?0Jg=?= x"


def test_little_that_is_not_ascii_is_quoted_and_much_is_base64() -> None:
    assert words.unstructured("Subject", "a longéword b") == (
        "Subject: a =?utf-8?q?long=C3=A9word?= b"
    )
    assert "?b?" in words.unstructured("Subject", "да")


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=300))
def test_any_file_name_survives_as_a_parameter(name: str) -> None:
    head = "Content-Disposition: attachment;\n " + words.parameter("filename", name)
    assert head.isascii()
    assert max(map(len, head.split("\n"))) <= 78
    parsed = message_from_bytes(head.encode() + b"\n\n", policy=policy.compat32)
    assert parsed.get_filename() == name


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_any_name_of_a_person_survives(name: str) -> None:
    name = " ".join(name.split()).replace("=?", "?")
    text = Mailbox(name, "a@example.org").text
    assert text.isascii()
    shown, address = parseaddr(text)
    assert address == "a@example.org"
    assert str(make_header(decode_header(shown))).split() == name.split()


# --- messages -------------------------------------------------------------------------------------


def parsed(draft: Draft, local: str = "") -> EmailMessage:
    data = compose.message(draft, local, "=_token")
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert message.defects == []
    return message


def test_fields_stand_in_the_customary_order_and_long_lists_are_folded() -> None:
    draft = Draft(to=[Mailbox("", f"user{i}@example.org") for i in range(30)])
    draft.cc = [Mailbox("Имя", "c@x")]
    draft.bcc = [Mailbox("", "hidden@x")]
    draft.set("Subject", "s")
    draft.set("X-A", "1")
    draft.set("From", "Я <i@x>")
    data = compose.message(draft, "", "=_token")
    message = message_from_bytes(data, policy=policy.default)
    assert message.keys() == [
        "From",
        "To",
        "Cc",
        "Subject",
        "X-A",
        "MIME-Version",
        "Content-Type",
        "Content-Transfer-Encoding",
    ]
    assert len(message["to"].addresses) == 30
    assert max(map(len, data.split(b"\n"))) <= 76
    assert compose.saved(draft, data) == b"Bcc: hidden@x\n" + data
    assert draft.recipients()[-2:] == ["c@x", "hidden@x"]


def test_a_field_there_may_be_once_is_replaced_and_others_are_added() -> None:
    draft = Draft()
    for name, value in (("From", "a"), ("X", "1"), ("from", "b"), ("X", "2"), ("SUBJECT", "s\n")):
        draft.set(name, value)
    assert draft.fields == [("X", "1"), ("from", "b"), ("X", "2")]
    assert draft.subject == "s"


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("X-Empty", "  ", "X-Empty:"),
        ("Reply-To", "Я <i@x>, b", "Reply-To: =?utf-8?b?0K8=?= <i@x>, b"),
        ("Reply-To", "not <an@address@Я", "Reply-To: not =?utf-8?b?PGFuQGFkZHJlc3NA0K8=?="),
        ("Reply-To", "(Я)", "Reply-To: =?utf-8?b?KNCvKQ==?="),
        ("X-Folded", "a\n\tb", "X-Folded: a\n\tb"),
        ("X-Long", "a " * 600, None),
    ],
)
def test_fields_of_the_user_are_kept_or_made_ascii(name: str, value: str, field: str) -> None:
    draft = Draft(fields=[(name, value)])
    data = compose.message(draft, "", "t").decode("ascii")
    if field is not None:
        assert data.startswith(field + "\n")
    assert max(map(len, data.split("\n"))) <= 998


@given(st.binary(max_size=3000))
def test_any_attachment_arrives_to_the_byte(data: bytes) -> None:
    draft = Draft(body=b"text\n", attachments=[Attachment("a.bin", data), Attachment("b", data)])
    message = parsed(draft)
    for part in message.iter_attachments():
        assert part.get_payload(decode=True) == data
    body = message.get_body()
    assert body is not None
    assert body.get_content() == "text\n"


@given(st.binary(max_size=3000), st.sampled_from(["", "koi8-r"]))
def test_any_body_arrives_as_it_was_but_for_its_line_ends(data: bytes, local: str) -> None:
    part = parsed(Draft(body=data), local)
    wanted = data.replace(b"\r\n", b"\n")
    wanted += b"" if wanted.endswith(b"\n") or not wanted else b"\n"
    assert part.get_payload(decode=True) == wanted
    part.get_content()  # in the character set of its label


@pytest.mark.parametrize("length", [997, 998, 999])
def test_a_line_is_as_long_as_mail_allows_or_it_is_quoted(length: int) -> None:
    encoding = parsed(Draft(body=b"x" * length + b"\n"))["content-transfer-encoding"]
    assert encoding == ("7bit" if length <= 998 else "quoted-printable")


def test_the_boundary_is_in_no_part() -> None:
    draft = Draft(body=b"--=_token\n", attachments=[Attachment("a", b"--=_token_\n")])
    message = parsed(draft)
    assert message.get_boundary() == "=_token__"
    assert len(list(message.iter_parts())) == 2


def test_fields_about_the_body_go_with_the_text_where_files_are_attached() -> None:
    draft = Draft(body=b"<p>x\n", attachments=[Attachment("a", b"x")])
    draft.set("Content-Type", "text/html")
    draft.set("Content-Language", "de")
    draft.set("Mime-Version", "1.0 (mine)")
    message = parsed(draft)
    assert message.get_content_type() == "multipart/mixed"
    assert message["mime-version"] == "1.0 (mine)"
    part = message.get_body(("html",))
    assert part is not None
    assert part["content-language"] == "de"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.gz", "application/gzip"),
        ("a.tar.xz", "application/x-xz"),
        ("a.Z", "application/octet-stream"),
        ("a.pdf", "application/pdf"),
        ("a.html", "text/html"),
        ("a.txt", "text/plain"),
        ("a", "text/plain"),
    ],
)
def test_the_type_of_a_file_is_guessed_from_its_name(name: str, kind: str) -> None:
    message = parsed(Draft(attachments=[Attachment(name, b"text\n")]))
    (part,) = message.iter_attachments()
    assert part.get_content_type() == kind


def test_a_body_with_an_encoding_of_the_user_is_not_encoded_again() -> None:
    draft = Draft(body=b"0LTQsA==\n")
    draft.set("Content-Type", "text/plain; charset=utf-8")
    draft.set("Content-Transfer-Encoding", "base64")
    assert parsed(draft).get_content() == "да"
