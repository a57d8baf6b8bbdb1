. "$TOOLS/planted"
tar cf t.tar tree
mkdir out
tar xpf t.tar -C out
tar df t.tar
tar tf t.tar | sort
rm t.tar
