# fish completion for sendmail of pymail

complete -c sendmail -f -a '(__fish_complete_users)' -d recipient
complete -c sendmail -l help -d 'show the synopsis'
complete -c sendmail -l version -d 'show the version'
complete -c sendmail -s t -d 'take the recipients from the header'
complete -c sendmail -s i -d 'a line with only a dot does not end the message'
complete -c sendmail -s f -x -a '(__fish_complete_users)' -d 'envelope sender'
complete -c sendmail -s r -x -a '(__fish_complete_users)' -d 'envelope sender'
complete -c sendmail -s F -x -d 'full name of the sender'
complete -c sendmail -s B -x -a '7BIT 8BITMIME' -d 'type of the body'
complete -c sendmail -s N -x -a 'never success failure delay' -d notices
complete -c sendmail -s R -x -a 'hdrs full' -d 'what a bounce returns'
complete -c sendmail -s V -x -d 'envelope identifier'
complete -c sendmail -s G -d 'do not complete the header'
complete -c sendmail -s v -d 'say the queue id'
complete -c sendmail -s I -d 'check and index the aliases file'
complete -c sendmail -o bm -d 'take a message'
complete -c sendmail -o bs -d 'speak SMTP on standard input'
complete -c sendmail -o bp -d 'show the queue'
complete -c sendmail -o bi -d 'check and index the aliases file'
complete -c sendmail -o bv -d 'say the route of addresses'
complete -c sendmail -o bh -d ignored
complete -c sendmail -o bH -d ignored
complete -c sendmail -s q -d 'run the queue'
complete -c sendmail -o qf -d 'run the queue'
complete -c sendmail -o qI -d 'messages with this queue id'
complete -c sendmail -o qR -d 'messages with this recipient'
complete -c sendmail -o qS -d 'messages with this sender'
complete -c sendmail -o oi -d 'a line with only a dot does not end the message'
complete -c sendmail -o ot -d 'take the recipients from the header'
complete -c sendmail -o oA -d 'aliases file for -bi'
complete -c sendmail -o oem -d ignored
complete -c sendmail -o odb -d 'deliver in the background'
complete -c sendmail -o odi -d 'deliver before ending'
complete -c sendmail -o odq -d 'deliver later'
complete -c sendmail -o odd -d 'deliver later'
complete -c sendmail -s O -x -a 'DeliveryMode=b DeliveryMode=i DeliveryMode=q' -d 'an option of Sendmail'
for letter in A L M e h p
    complete -c sendmail -s $letter -x -d ignored
end
for letter in C D X
    complete -c sendmail -s $letter -r -d ignored
end
for letter in d T E J U c m n s x
    complete -c sendmail -s $letter -d ignored
end
