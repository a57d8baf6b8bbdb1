touch -d 2001-01-01 old
touch -d 2002-01-01 mid
touch -d 2003-01-01 new
mkdir -p a/b
echo > a/b/f
ln -s a l
find . -newer mid | sort
find -L . -type f -size -1 | sort
find . -depth -name b
find . -mtime +1 -delete
