# fish completion for mailq of pymail

complete -c mailq -f
complete -c mailq -s j -l json -d 'one JSON object a line'
complete -c mailq -s v -d ignored
complete -c mailq -s h -l help -d 'show the synopsis'
complete -c mailq -s V -l version -d 'show the version'
