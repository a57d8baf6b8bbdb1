. "$TOOLS/xattr/planted"
rsync -aX tree/ copy
shown copy
setfattr -n user.colour -v red tree/plain
setfattr -x user.raw tree/plain
rsync -aXi tree/ copy
rsync -aXni tree/ copy
shown copy
# Where there are no access control lists, none have to be kept.
rsync -aAX tree/ whole
shown whole
rsync -a tree/ without
shown without
