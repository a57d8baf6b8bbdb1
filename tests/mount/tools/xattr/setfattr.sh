. "$TOOLS/xattr/planted"
shown tree
setfattr -n user.empty tree/plain
setfattr -n user.colour -v red tree/plain
setfattr -x user.raw tree/plain
setfattr -x user.raw tree/plain 2>&1 || echo absent
getfattr -n user.raw tree/plain 2>&1 || echo absent
getfattr --only-values -n user.colour tree/plain
getfattr -d tree/plain > dump
setfattr -n user.colour -v black tree/plain
setfattr --restore=dump
shown tree
setfattr -h -n user.x -v 1 tree/link 2>&1 || echo refused
# They stay with the file, whatever happens to it.
echo more >> tree/plain
chmod 600 tree/plain
mv tree/plain moved
mv tree/sub other
shown .
