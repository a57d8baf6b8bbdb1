file=$(mktemp -p .)
stat -c %a,%s "$file"
directory=$(mktemp -d -p .)
stat -c %a "$directory"
rmdir "$directory"
rm "$file"
