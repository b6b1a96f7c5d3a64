# fish completion for flush of pymail

complete -c flush -f -a "(mailq 2>/dev/null | string match -r '^[0-9A-Za-z]{17,}')" -d 'queue id'
complete -c flush -s a -l all -d 'try all mail now'
complete -c flush -s v -l verbose -d 'tell each delivery'
complete -c flush -l log -r -F -d 'write the log there'
complete -c flush -l site -x -a '(__fish_print_hostnames)' -d 'try the mail for a domain'
complete -c flush -l recipient -x -d 'try the mail for recipients with this text'
complete -c flush -l sender -x -d 'try the mail of senders with this text'
complete -c flush -l id -x -d 'try this message'
complete -c flush -s h -l help -d 'show the synopsis'
complete -c flush -s V -l version -d 'show the version'
