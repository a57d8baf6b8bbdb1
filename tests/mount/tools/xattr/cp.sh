. "$TOOLS/xattr/planted"
cp -a --preserve=xattr tree copy
shown copy
cp --preserve=xattr tree/plain one
cp -p tree/plain two
shown .
