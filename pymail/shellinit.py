"""What goes into the startup file of a shell, so that it tells of new mail.  Pure.

The shell looks whether there is anything to tell, with nothing but what is built into it, and only
then starts `pymail notice`, once a shell.  bash and zsh are also told to look at the Maildir
before a prompt, since they understand one by the path of its directory (given new/ instead, bash
tells of mail that was read or deleted, too).  dash understands files only, fish nothing.

Where standard output is no terminal nobody reads it, but a program may: editors ask an interactive
shell for its environment.
"""

import shlex

# Names with a prefix, not `local`: POSIX does not have it.  Each step is a condition: set -e.
_SH = """\
# From `pymail shell-init @SHELL@`: tells of new mail.
case $- in *i*)
__pymail_any() {
    for __pymail_file do
        case $__pymail_file in *.damaged) continue ;; esac
        if [ -f "$__pymail_file" ] && [ -s "$__pymail_file" ]; then return 0; fi
    done
    return 1
}
__pymail_look() {
    if [ ! -t 1 ] || [ "${__pymail_shell-}" = "$$" ]; then return 0; fi
    __pymail_shell=$$
    if __pymail_any @NEW@ || __pymail_any "${HOME-}"/.maildir/new/* ||
        __pymail_any "$__pymail_mail"/new/*
    then
        @PROGRAM@ notice 2>/dev/null || echo 'You have new mail.'
        return 0
    fi
@UID@    if __pymail_any @QUEUED@; then
        @PROGRAM@ notice 2>/dev/null || return 0
    fi
}
__pymail_mail=${MAIL:-@BOX@}
__pymail_mail=${__pymail_mail#maildir:}
__pymail_mail=${__pymail_mail%/}
@LOOK@unset -f __pymail_any __pymail_look
unset __pymail_file __pymail_mail __pymail_key __pymail_uid __pymail_rest
;; esac
"""

# dash has no $UID, and id(1) is a program.
_SH_UID = """\
    __pymail_uid=none
    if [ -d @DROP@ ] && [ -r /proc/self/status ]; then
        while IFS='\t' read -r __pymail_key __pymail_uid __pymail_rest; do
            if [ "$__pymail_key" = Uid: ]; then break; fi
        done </proc/self/status
    fi
"""

# A name that bash would take apart (":", "?") is left out.
_BASH_LOOK = """\
if shopt -q failglob; then
    shopt -u failglob
    __pymail_look
    shopt -s failglob
else
    __pymail_look
fi
if [ -z "${MAILPATH-}" ]; then
    MAILPATH=
    for __pymail_file in @BOX@ "${HOME-}"/.maildir "$__pymail_mail"; do
        case $__pymail_file in *[:?%\\\\]*) continue ;; esac
        case :$MAILPATH: in *:"$__pymail_file":*) continue ;; esac
        if [ "$__pymail_file" = @BOX@ ] || [ -e "$__pymail_file" ]; then
            MAILPATH=${MAILPATH:+$MAILPATH:}$__pymail_file
        fi
    done
    if [ -z "$MAILPATH" ]; then unset MAILPATH; fi
fi
: "${MAILCHECK:=60}"
"""

_ZSH = """\
# From `pymail shell-init zsh`: tells of new mail.
if [[ -o interactive ]]; then
__pymail_look() {
    emulate -L zsh
    setopt extended_glob
    local box mail=${${${MAIL:-@BOX@}#maildir:}%/}
    local -a boxes found
    boxes=(@BOX@ "${HOME-}"/.maildir "$mail")
    if (( ! $#mailpath )); then
        for box in $boxes; do
            if [[ $box == *\\?* ]] || (( ${mailpath[(Ie)$box]} )); then continue; fi
            if [[ $box == @BOX@ || -e $box ]]; then mailpath+=("$box"); fi
        done
    fi
    : ${MAILCHECK:=60}
    if [[ ! -t 1 || ${__pymail_shell-} == $$ ]]; then return 0; fi
    typeset -g __pymail_shell=$$
    found=($^boxes/new/*(N-.L+0Y1)@MBOX@)
    if (( $#found )); then
        @PROGRAM@ notice 2>/dev/null || echo 'You have new mail.'
        return 0
    fi
    found=(@QUEUED@)
    if (( $#found )); then
        @PROGRAM@ notice 2>/dev/null || return 0
    fi
}
__pymail_look
unfunction __pymail_look
fi
"""

_FISH = """\
# From `pymail shell-init fish`: tells of new mail.
if status is-interactive; and test -t 1; and test "$__pymail_shell" != $fish_pid
    set -g __pymail_shell $fish_pid
    function __pymail_any
        for file in $argv
            if test -f $file; and test -s $file; and not string match -q '*.damaged' -- $file
                return 0
            end
        end
        return 1
    end
    set -l new @NEW@
    __pymail_any $new; or set new "$HOME"/.maildir/new/*
    set -l mail (string replace -r '^maildir:' '' -- "$MAIL")
    __pymail_any $new; or set new "$mail"/new/*
    if __pymail_any $new
        command -q @PROGRAM@; and @PROGRAM@ notice 2>/dev/null; or echo 'You have new mail.'
    else
@UID@        set -l queued @QUEUED@
        if __pymail_any $queued; and command -q @PROGRAM@
            @PROGRAM@ notice 2>/dev/null
        end
    end
    functions -e __pymail_any
end
"""

_FISH_UID = """\
        set -l uid none
        if test -d @DROP@; and test -r /proc/self/status
            while read -l key value rest
                if test "$key" = Uid:
                    set uid $value
                    break
                end
            end </proc/self/status
        end
"""


_QUEUED = {
    "user": {
        "sh": "@QUEUE@/*",
        "zsh": "@QUEUE@/*~*.damaged(N.L+0Y1)",
        "fish": "@QUEUE@/*",
    },
    # Root's own mail goes into the queue at once; its ids end with the uid.
    "system": {
        "sh": '@DROP@/u"$__pymail_uid"/* @DROP@/u"$__pymail_uid"/.status @QUEUE@/*0',
        "zsh": "@DROP@/u$EUID/*(N.L+0Y1) @DROP@/u$EUID/.status(N.L+0) @QUEUE@/*0(N.L+0Y1)",
        "fish": "@DROP@/u$uid/* @DROP@/u$uid/.status @QUEUE@/*0",
    },
}

SHELLS = {
    "bash": _SH.replace("@LOOK@", _BASH_LOOK),
    "zsh": _ZSH,
    "sh": _SH.replace("@LOOK@", "__pymail_look\n"),
    "fish": _FISH,
}
"""`sh` is for dash and every other shell of POSIX."""


def snippet(shell: str, program: str, *, home: str, mailbox: str, spool: str, system: bool) -> str:
    """Return the lines for the startup file of a shell.

    `program` is the path of pymail, `mailbox` is home_mailbox.  What lies in `home` is looked for
    in the home of whoever starts the shell; of a spool that serves the system, only their mail.
    """
    quote = _fish_quote if shell == "fish" else shlex.quote
    variable = '"$HOME"' if shell == "fish" else '"${HOME-}"'

    def place(path: str) -> str:
        inside = path.removeprefix(f"{home.rstrip('/')}/")
        return f"{variable}/{quote(inside)}" if inside != path else quote(path)

    kind = "sh" if shell == "bash" else shell
    box = place(f"{home.rstrip('/')}/{mailbox.rstrip('/')}")
    maildir = mailbox.endswith("/")
    uid = {"sh": _SH_UID, "fish": _FISH_UID}.get(kind, "") if system else ""
    text = SHELLS[shell]
    for name, value in (
        ("UID", uid),
        ("QUEUED", _QUEUED["system" if system else "user"][kind]),
        ("NEW", f"{box}/new/*" if maildir else box),
        ("MBOX", "" if maildir else f" {box}(N-.L+0)"),
        ("SHELL", shell),
        ("BOX", box),
        ("DROP", place(f"{spool}/drop")),
        ("QUEUE", place(f"{spool}/queue")),
        ("PROGRAM", quote(program)),
    ):
        text = text.replace(f"@{name}@", value)
    return text


def _fish_quote(text: str) -> str:
    """Return `text` as one word for fish, whose single quotes know two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
