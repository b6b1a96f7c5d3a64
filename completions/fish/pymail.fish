# fish completion for pymail

function __pymail_settings
    pymail config -d 2>/dev/null | string replace -rf '^([A-Za-z0-9_]+) = .*' '$1'
end

function __pymail_ids
    mailq 2>/dev/null | string match -r '^[0-9A-Za-z]{17,}'
end

set -l commands setup config check doctor queue explain list show fetch import export login dkim notice shell-init
set -l verbs list show try hold release delete requeue
set -l none "not __fish_seen_subcommand_from $commands"

complete -c pymail -f
complete -c pymail -s h -l help -d 'show the synopsis'
complete -c pymail -n $none -s V -l version -d 'show the version'
complete -c pymail -n $none -a config -d 'show and change settings'
complete -c pymail -n $none -a check -d 'look for what keeps mail from moving'
complete -c pymail -n $none -a queue -d 'look at messages, and change what becomes of them'
complete -c pymail -n $none -a explain -d 'show where mail to an address goes'
complete -c pymail -n $none -a list -d 'list the messages of a mailbox'
complete -c pymail -n $none -a show -d 'show one message of a mailbox'
complete -c pymail -n $none -a fetch -d 'fetch mail from POP3 and IMAP servers'
complete -c pymail -n $none -a doctor -d 'look at all that mail depends on, here and outside'
complete -c pymail -n $none -a setup -d 'install it, or send through an account'
complete -c pymail -n $none -a export -d 'write our configuration as that of Postfix'
complete -c pymail -n $none -a import -d 'take over the configuration of another program'
complete -c pymail -n $none -a login -d 'store the login for a mail server, and prove it'
complete -c pymail -n $none -a dkim -d 'make and show the keys that sign mail'
complete -c pymail -n $none -a notice -d 'tell of new mail, and of what is stuck'
complete -c pymail -n $none -a shell-init -d 'print the lines that tell of new mail'

set -l config '__fish_seen_subcommand_from config'
set -l first "$config; and not __fish_seen_subcommand_from set unset"
complete -c pymail -n $first -a set -d 'set a value'
complete -c pymail -n $first -a unset -d 'take it back'
complete -c pymail -n $config -a '(__pymail_settings)' -d setting
complete -c pymail -n $config -s n -d 'only settings that are not the default'
complete -c pymail -n $config -s d -d 'the defaults'

set -l queue '__fish_seen_subcommand_from queue'
set -l verbless "$queue; and not __fish_seen_subcommand_from $verbs"
complete -c pymail -n $verbless -a list -d 'show the queue'
complete -c pymail -n $verbless -a show -d 'show one message'
complete -c pymail -n $verbless -a try -d 'try to deliver one message'
complete -c pymail -n $verbless -a hold -d 'keep messages from being tried'
complete -c pymail -n $verbless -a release -d 'let messages on hold be tried'
complete -c pymail -n $verbless -a delete -d 'remove messages'
complete -c pymail -n $verbless -a requeue -d 'let messages be tried by the next flush'
complete -c pymail -n "$queue; and __fish_seen_subcommand_from list" -s j -d 'one JSON object a line'
set -l show "$queue; and __fish_seen_subcommand_from show"
complete -c pymail -n $show -s e -d 'only envelope and attempts'
complete -c pymail -n $show -s m -d 'only the message'
complete -c pymail -n $show -l raw -d 'the message byte for byte'
set -l change "$queue; and __fish_seen_subcommand_from hold release delete requeue"
complete -c pymail -n $show -a '(__pymail_ids)' -d 'queue id'
complete -c pymail -n "$queue; and __fish_seen_subcommand_from try" -l submitted -d 'remove what would not be tried again'
complete -c pymail -n "$queue; and __fish_seen_subcommand_from try" -a '(__pymail_ids)' -d 'queue id'
complete -c pymail -n $change -a '(__pymail_ids) ALL' -d 'queue id'

set -l explain '__fish_seen_subcommand_from explain'
complete -c pymail -n $explain -a '(__fish_complete_users)'
complete -c pymail -n $explain -s f -x -a '(__fish_complete_users)' -d 'the envelope sender'
complete -c pymail -n $explain -l net -d 'ask name servers for the servers of what leaves'
complete -c pymail -n $explain -s j -d 'one JSON object a line'
complete -c pymail -n $explain -l verify -d 'one line for each end, as sendmail -bv'

set -l fetch '__fish_seen_subcommand_from fetch'
complete -c pymail -n $fetch -a '(pymail fetch --list 2>/dev/null)' -d account
complete -c pymail -n $fetch -s n -l dry-run -d 'only say how many there are'
complete -c pymail -n $fetch -s v -l verbose -d 'say what was fetched'
complete -c pymail -n $fetch -l list -d 'show the accounts'

set -l mailbox '__fish_seen_subcommand_from list show; and not __fish_seen_subcommand_from queue dkim'
complete -c pymail -n $mailbox -s f -l file -r -F -d 'a Maildir or mbox file'
complete -c pymail -n $mailbox -s u -l user -x -a '(__fish_complete_users)' -d 'the inbox of a user'
complete -c pymail -n $mailbox -s j -l json -d 'one JSON object a line'
set -l letter '__fish_seen_subcommand_from show; and not __fish_seen_subcommand_from queue dkim'
complete -c pymail -n $letter -l raw -d 'the message byte for byte'
complete -c pymail -n $letter -l save -r -a '(__fish_complete_directories)' -d 'save the attachments'

set -l import '__fish_seen_subcommand_from import'
complete -c pymail -n $import -a 'postfix msmtp ssmtp dma nullmailer esmtp fetchmail getmail' -d kind
complete -c pymail -n $import -s w -l write -d 'write it down, logins and aliases too'
complete -c pymail -n $import -F

set -l doctor '__fish_seen_subcommand_from doctor'
complete -c pymail -n $doctor -l json -d 'one JSON object a line'
complete -c pymail -n $doctor -l address -x -d 'the address that others see'

set -l setup '__fish_seen_subcommand_from setup'
complete -c pymail -n $setup -s n -l dry-run -d 'show what would be done'
complete -c pymail -n $setup -s y -l yes -d 'do not ask whether to go on'
complete -c pymail -n $setup -l remove -d 'take it away'
complete -c pymail -n $setup -l start -x -a 'cron systemd none' -d 'what starts flush'
complete -c pymail -n $setup -l relay -x -d 'server that takes mail'
complete -c pymail -n $setup -l user -x -d 'login there'
complete -c pymail -n $setup -l no-test -d 'store the login without using it'

set -l export '__fish_seen_subcommand_from export'
complete -c pymail -n $export -a postfix -d kind
complete -c pymail -n $export -a '(__fish_complete_directories)'

set -l login '__fish_seen_subcommand_from login'
complete -c pymail -n $login -a "(pymail login --list 2>/dev/null | string replace -r ' .*' '')"
complete -c pymail -n $login -l check -d 'use the login that is stored'
complete -c pymail -n $login -l list -d 'show servers, users and sources'
complete -c pymail -n $login -l remove -d 'forget the login'
complete -c pymail -n $login -l no-test -d 'store it without asking the server'

set -l dkim '__fish_seen_subcommand_from dkim'
set -l keyless "$dkim; and not __fish_seen_subcommand_from new show"
complete -c pymail -n $keyless -a new -d 'make a key and print its DNS record'
complete -c pymail -n $keyless -a show -d 'print the DNS records'
set -l key "$dkim; and __fish_seen_subcommand_from new"
complete -c pymail -n $key -x -l selector -d 'the name of the key in DNS'
complete -c pymail -n $key -x -l bits -d 'length of the key'
complete -c pymail -n $key -l ed25519 -d 'a short key, which not everybody understands'

set -l init '__fish_seen_subcommand_from shell-init'
complete -c pymail -n "$init; and not __fish_seen_subcommand_from bash zsh sh fish" -a 'bash zsh sh fish'
