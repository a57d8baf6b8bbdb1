. "$TOOLS/xattr/planted"
tar --xattrs -cf t.tar tree
mkdir out
tar --xattrs -xpf t.tar -C out
shown out
tar df t.tar
rm t.tar
