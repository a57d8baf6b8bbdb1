echo x > f
install -D -m 4751 -o 12 -g 34 f a/b/g
install -d -m 1700 dir
install -C f dir
install -p f dir/kept
install -b f a/b/g
