. "$TOOLS/planted"
cp -a tree copy
cp -r tree other
cp --sparse=always tree/large sparse
cmp sparse tree/large
