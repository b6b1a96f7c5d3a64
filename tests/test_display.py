"""What is shown of a message: any bytes are survived, nothing steers the terminal."""

import base64
import re
import time
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail import attachments, columns, display, htmltext, legible, mime, summary

TEXT = "Привет, это обычное письмо о погоде и работе.\nЕщё строка.\n"


def shown(data: bytes) -> str:
    return "\n".join(display.message(mime.parse(data)))


# --- character sets --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["koi8-r", "windows-1251", "utf-8"])
@pytest.mark.parametrize("label", ["right", "none", "us-ascii", "iso-8859-1", "x-unknown"])
def test_russian_is_read_right_whatever_the_label(name: str, label: str) -> None:
    said = {"right": name, "none": ""}.get(label, label)
    assert legible.text(TEXT.encode(name), said) == TEXT
    for word in ("Отчёт за день", "ВНИМАНИЕ", "привет", "Иван Петров"):
        assert legible.field(word.encode(name), said) == word


def test_other_languages_are_not_taken_for_russian() -> None:
    for text in ("Der Bär läuft über die Straße", "garçon à l'école", "¡Señor!"):
        assert legible.text(text.encode("latin-1")) == text
    assert legible.text("日本語".encode("iso-2022-jp"), "iso-2022-jp") == "日本語"
    assert legible.text("日本".encode("utf-16"), "utf-16") == "日本"
    assert legible.text("Straße".encode("koi8-r", "replace"), "koi8-r") == "Stra?e"


def test_a_damaged_text_is_read_in_the_set_that_it_is_in() -> None:
    damaged = TEXT.encode()[:-5] + b"\xd0"
    assert legible.text(damaged).startswith("Привет, это")
    assert legible.text("日本語です".encode("euc-jp")[:-1], "euc-jp").startswith("日本語で")
    for label in ("punycode", "quopri", "hex", "rot13", "zlib", "undefined", "x\xff"):
        assert legible.text(b"abc\xff", label) == "abcÿ"
    assert legible.text(b"abc\xff", "no\0set") == "abcÿ"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"=?utf-8?q?=D0=9F=D1?= =?utf-8?q?=80=D0=B8?=", "При"),
        (b"=?UTF-8*ru?B?0J/RgNC4?=", "При"),
        (b"=?koi8-r?B?8NLJ18XU?=\n =?koi8-r?Q?_=CD=C9=D2?=", "Привет мир"),
        (b"Re: =?windows-1251?Q?=CF=F0=E8=E2=E5=F2?= x", "Re: Привет x"),
        (b"=?utf-8?b?0J/RgNC4?= =?koi8-r?b?8NLJ?=", "ПриПри"),
        (b"=?iso-8859-1?q?caf=E9?=", "café"),
        (b"=?bad?b?x?= =?utf-8?q??=", "=?bad?b?x?= "),
        (b"=?utf-8?b?0J/RgNC?=", "Пр"),
        (b"=?utf-8?q?a b c?=", "a b c"),
        (b"  a \n\t b ", "a b"),
        (b"", ""),
    ],
)
def test_a_field_is_decoded(value: bytes, text: str) -> None:
    assert legible.field(value).rstrip("\ufffd") == text


@given(st.binary(max_size=400), st.text(max_size=20))
def test_any_bytes_are_a_text_and_a_safe_line(data: bytes, label: str) -> None:
    for text in (legible.text(data, label), legible.field(data, label)):
        assert legible.line(text).isprintable()
        assert all(line.isprintable() for line in legible.lines(text))


WORD = st.builds(
    lambda label, kind, text: b"=?%b?%b?%b?=" % (label.encode(), kind, text),
    st.sampled_from(["utf-8", "koi8-r", "utf-7", "utf-16", "hz", "iso-2022-jp", "idna", "x", ""]),
    st.sampled_from([b"q", b"B", b"x", b""]),
    st.binary(max_size=30),
)


@given(st.lists(st.one_of(WORD, st.binary(max_size=10)), max_size=8))
def test_any_header_is_decoded(pieces: list[bytes]) -> None:
    value = b" ".join(pieces)
    assert legible.line(legible.field(value)).isprintable()
    head = b"From: " + value + b"\nSubject: " + value + b"\nDate: " + value + b"\n\n"
    about = summary.of(head)
    assert summary.line(1, "N", about, 5, 80).isprintable()


@given(st.text(st.sampled_from("ab山\u0301\u20dd\u1161\uff21\U0001f389\u03a9"), max_size=20))
def test_columns_are_counted_and_filled(text: str) -> None:
    for wanted in range(25):
        cut = columns.cut(text, wanted)
        assert text.startswith(cut) and columns.width(cut) <= wanted
        rest = text[len(cut) :]
        assert not rest or columns.width(cut + rest[0]) > wanted
        assert columns.width(columns.left(text, wanted)) == wanted
        assert columns.width(columns.right(text, wanted)) == max(wanted, columns.width(text))


def test_what_is_invisible_goes_and_blanks_are_blanks() -> None:
    assert legible.line("a\xa0b\u200bc\u202ed\x9b1m\tx\x1b[2J") == "a bc?d?1m x?[2J"


# --- MIME -------------------------------------------------------------------------------------

ALTERNATIVE = EmailMessage()
ALTERNATIVE["Subject"] = "both"
ALTERNATIVE.set_content("plain text\n")
ALTERNATIVE.add_alternative("<p>rich <b>text</b></p>", subtype="html")
ALTERNATIVE.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="отчёт.pdf")


def test_plain_text_is_chosen_and_attachments_have_a_line() -> None:
    text = shown(ALTERNATIVE.as_bytes())
    assert text == "Subject: both\n\nplain text\n[2: отчёт.pdf, application/pdf, 4 bytes]"


def test_html_is_shown_as_text_where_there_is_nothing_else() -> None:
    made = EmailMessage()
    made.set_content("<h1>Head</h1><p>a &amp; b <a href='http://x/'>here</a>", subtype="html")
    assert shown(made.as_bytes()).endswith("Head\n\na & b here <http://x/>")
    empty = b"Content-Type: multipart/alternative; boundary=b\n\n--b\n\n \n--b\n"
    empty += b"Content-Type: text/html\n\n<p>only here\n--b--\n"
    assert shown(empty) == "\nonly here"


def test_a_message_within_is_shown_with_its_header() -> None:
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner["X-Other"] = "no"
    inner.set_content("deep\n")
    outer = EmailMessage()
    outer["Subject"] = "outer"
    outer.set_content("look:\n")
    outer.add_attachment(inner)
    text = shown(outer.as_bytes())
    assert "----- message -----\nSubject: inner\n\ndeep" in text
    assert [p.number for p in mime.parse(outer.as_bytes()).leaves()] == ["1", "2.1"]


PARAMETERS = st.lists(
    st.sampled_from(
        [b"charset", b"boundary", b"name", b"filename", b"*", b"0", b"1", b"*=", b"=", b"''", b"'",
         b"utf-8", b"%d0", b"%", b'"', b";", b" ", b"\0", b"\xff", b"multipart/mixed",
         b"\\", b"\n "]
    ),
    max_size=25,
).map(b"".join)  # fmt: skip


@given(PARAMETERS, PARAMETERS)
def test_any_parameters_are_understood(kind: bytes, disposition: bytes) -> None:
    fields = b"Content-Type: " + kind + b"\nContent-Disposition: attachment;" + disposition
    part = mime.parse(fields + b"\n\n--x\n\ny")
    assert all(line.isprintable() for line in display.body(part))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("filename*=utf-8''%D0%B4.txt", "д.txt"),
        ("filename*0*=utf-8''%D0%B4; filename*1=.txt", "д.txt"),
        ('filename="=?utf-8?b?0LQ=?=.txt"', "д.txt"),
        ("filename*=x\0y''z", "z"),
        ("filename=plain", "plain"),
        ('filename = "a;b=\\"c\\\\" ; x=y', 'a;b="c\\'),
        ('filename="without an end; x=y', "without an end; x=y"),
        ("filename=a; filename=b; filename*=utf-8''c", "a"),
        ("FileName*1=b; filename*0=a; filename*10=d; filename*2=c", "abcd"),
        ("filename*=utf-8''a; filename*0*=utf-8''b; filename*1=c", "ac"),
        ("filename*99999=a; filename*x=b; filename**=c; ; =d; filename", ""),
    ],
)
def test_a_name_is_read_in_every_form(given: str, name: str) -> None:
    part = mime.parse(f"Content-Disposition: attachment; {given}\n\nx".encode())
    assert part.name == name


def test_a_boundary_may_be_encoded_and_a_part_quoted_printable() -> None:
    head = b"Content-Type: multipart/mixed; boundary*=us-ascii''b\n\n--b\n"
    qp = b"Content-Transfer-Encoding: Quoted-Printable\n\nsoft=\n line =D0=B4=zz\n--b--\n"
    assert shown(head + qp) == "\nsoft line д=zz"


def test_parts_that_nobody_closed_or_named_are_shown_all_the_same() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b\n\none\n--b\n\ntwo\n"
    assert shown(data) == "\none\ntwo"
    assert shown(b"Content-Type: multipart/mixed\n\nwhole\n") == "\nwhole"
    assert shown(b"no header at all\n") == "\nno header at all"
    assert shown(b"\nbody") == "\nbody"
    assert shown(b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xd0\xb4\r\n") == "\nд"


def test_base64_that_is_cut_gives_what_is_there() -> None:
    head = b"Content-Transfer-Encoding: base64\n\n"
    whole = base64.b64encode(b"hello world")
    assert shown(head + whole[:-5]) == "\nhello wo"
    assert shown(head + whole[:9]) == "\nhello"
    assert shown(head + b"!!!") == "\n"


def test_a_bomb_of_parts_is_read_in_a_moment() -> None:
    deep = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(5000)
    )
    wide = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 50_000
    rfc = b"Content-Type: message/rfc822\n\n" * 5000
    for data in (deep, wide, rfc, b"Content-Type: a; " + b'x="' * 100_000):
        part = mime.parse(data)
        assert len(list(part.leaves())) <= mime.MOST_PARTS
        assert all(line.isprintable() for line in display.message(part))


@pytest.mark.parametrize("sign", [b";", b"a=b;", b'a="b";', b'a*0="b";', b'\\"', b"a*1*=%41;"])
def test_a_bomb_of_parameters_is_read_in_a_moment(sign: bytes) -> None:
    value = b'a/b; x="' + sign * (4000 // len(sign))
    fields = b"Content-Type: %b\nContent-Disposition: %b\n\nx\n" % (value, value)
    data = b"Content-Type: multipart/mixed; boundary=b\n\n" + (b"--b\n" + fields) * 300
    began = time.process_time()
    assert len(list(mime.parse(data).leaves())) == 300
    assert time.process_time() - began < 15


PIECES = st.sampled_from(
    [b"\n", b"\n\n", b"--b", b"--b--", b"\n--b\n", b"Content-Type: ",
     b"multipart/mixed; boundary=b",
     b"multipart/alternative; boundary=b", b"text/html", b"message/rfc822", b"; charset=koi8-r",
     b"Content-Transfer-Encoding: base64", b"Content-Transfer-Encoding: quoted-printable",
     b"Content-Disposition: attachment; filename*0*=utf-8''%d0; filename*1=..", b"=\xd0", b"<p>",
     b"<!--", b"\x1b[2J", b"\xff\xfe",
     b"From: =?utf-8?q?=1B?= <a@b>", b'filename="', b" ", b"\r\n", b"\0"]
)  # fmt: skip


@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=40))
def test_any_bytes_are_shown_and_nothing_steers_the_terminal(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    part = mime.parse(data)
    for names in (None, display.FIELDS):
        assert all(line.isprintable() for line in display.message(part, names=names))
    for leaf in part.leaves():
        assert re.fullmatch(r"[^/\0]{1,255}", attachments.name(leaf))


# --- HTML -------------------------------------------------------------------------------------


def test_html_becomes_what_a_person_would_read() -> None:
    html = (
        "<html><head><title>no</title><style>p > a {}</style></head><!-- <p>no --><body>"
        "<p>one<br>two</p><ul><li>a<li>b</ul><ol><li>x</li></ol><blockquote>said</blockquote>"
        "<pre>  k\n v</pre><hr><img alt=pic><script>if (a<b) alert('<p>')</script>"
        "<table><tr><td>1<td>2</table>3 < 4 <a href='mailto:a@b'>a@b</a><a href='#x'>y</a></body>"
    )
    assert htmltext.text(html) == (
        "one\ntwo\n\n- a\n- b\n\n1. x\n\n> said\n\n  k\n v\n\n"
        + "-" * 40
        + "\n[pic]\n1  2\n3 < 4 a@by"
    )


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<html><head><title>Счёт</title><body><p>К оплате 100 рублей</p></body></html>", ""),
        ("<head><meta charset=utf-8><title>Счёт</title>\n<p>К оплате 100 рублей", ""),
        ("<head><style>p {}</style><noscript><p>no</noscript><p>К оплате 100 рублей", ""),
        ("<head><title>Счёт<body><p>К оплате 100 рублей</p></body>", "Счёт\n\n"),
        ("<head><style>p {}<body><p>К оплате 100 рублей</p></body>", "p {}\n\n"),
        ("<template><p>К оплате 100 рублей", ""),
        ("<svg><title>no</svg><p>К оплате 100 рублей</p>", ""),
        ("<svg/><p>К оплате 100 рублей</p><svg></svg>", ""),
        ("<object><svg></object><p>К оплате 100 рублей</p>", ""),
    ],
)
def test_a_tag_that_is_not_closed_hides_no_letter(html: str, text: str) -> None:
    assert htmltext.text(html) == f"{text}К оплате 100 рублей"


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<!--", "<!", "</", "<a ", '<a href="', "&#", "<?", "<script>", "<a>", "<div>"),
        *("<title>", "<svg></title>", "<svg/>", "</svg"),
    ],
)
def test_hostile_html_is_read_in_a_moment(piece: str) -> None:
    htmltext.text(piece * 100_000)


TAGS = st.sampled_from(
    ["<", ">", "!--", "-->", "script", "/", "a", '"', "'", "=", " p", "&", ";", "#9", "\n", "<li>",
     "<pre>", "<td>", "</ul>", "x", "<a href=x>", "</a>", "<ul>", "</pre>", "<title>", "</title>"]
)  # fmt: skip


@given(st.lists(TAGS, max_size=40).map("".join))
def test_any_html_becomes_text(html: str) -> None:
    htmltext.text(html)


def test_html_is_filled_to_lines_that_can_be_read() -> None:
    words = "word " * 40
    text = htmltext.text(f"<p>{words}<blockquote>{words}</blockquote><p>{'x' * 200}")
    lines = text.split("\n")
    assert max(len(line) for line in lines[:-1]) <= 78
    assert lines[-1] == "x" * 200
    assert sum(line.startswith("> word") for line in lines) == 3


def test_html_that_is_longer_than_any_letter_is_cut() -> None:
    assert htmltext.text("x" * 4_194_304) == "x" * 4_194_304
    assert htmltext.text("x" * 4_194_305) == "x" * 4_194_304 + "\n[...]"


# --- names of files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "saved"),
    [
        ("report.pdf", "report.pdf"),
        ("отчёт.pdf", "отчёт.pdf"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\evil.exe", "evil.exe"),
        ("/etc/cron.d/x", "x"),
        (".bashrc", "bashrc"),
        ("-rf", "rf"),
        ("~root", "root"),
        ("a\x1b[2J\nb", "a_[2J_b"),
        ("..", "part-1.pdf"),
        ("", "part-1.pdf"),
        ("a\0b", "a_b"),
    ],
)
def test_a_name_of_a_file_is_harmless(sent: str, saved: str) -> None:
    part = mime.Part("1", "application/pdf", [], b"", name=sent)
    assert attachments.name(part).replace("?", "_") == saved


def test_nothing_is_overwritten(tmp_path) -> None:
    parts = [mime.Part("1", "text/x", [], b"%d" % n, name="a.txt") for n in range(3)]
    (tmp_path / "a.txt").symlink_to("/nowhere/x")
    paths = attachments.save(str(tmp_path), parts)
    assert [p.rpartition("/")[2] for p in paths] == ["a-1.txt", "a-2.txt", "a-3.txt"]
    long = mime.Part("1", "text/x", [], b"", name="ы" * 300 + ".txt")
    (saved,) = attachments.save(str(tmp_path), [long])
    assert saved.endswith("ы.txt")
    assert len(attachments.name(mime.Part("1", "a/b", [], b"", name="a." + "x" * 900))) < 256
