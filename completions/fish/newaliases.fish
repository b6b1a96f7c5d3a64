# fish completion for newaliases of pymail

complete -c newaliases -l help -d 'show the synopsis'
complete -c newaliases -l version -d 'show the version'
complete -c newaliases -s v -d ignored
