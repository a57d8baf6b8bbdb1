seq 1000 > f
chmod 640 f
sed -i 's/^5/five/' f
sed -i.bak '$d' f
perl -pi -e 's/7/seven/' f
sha256sum f f.bak
