touch lock
exec 9> lock
flock -n 9
flock -n lock echo mine || echo taken
flock -u 9
flock -n lock echo mine
for i in 1 2 3 4 5 6 7 8; do
    flock lock sh -c 'n=$(cat n 2>/dev/null || echo 0); echo $((n + 1)) > n' &
done
wait
cat n
