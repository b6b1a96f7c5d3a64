# fish completion for flush of pymail

complete -c flush -f -a "(mailq 2>/dev/null | string match -r '^[0-9A-Za-z]{17,}')" -d 'queue id'
complete -c flush -s v -d 'tell each delivery'
complete -c flush -l log -r -F -d 'write the log there'
complete -c flush -l site -x -a '(__fish_print_hostnames)' -d 'try all mail for a domain'
complete -c flush -l help -d 'show the synopsis'
complete -c flush -l version -d 'show the version'
