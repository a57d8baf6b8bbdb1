# How vim saves: the old file becomes the backup, or (backupcopy) is copied and written over.
echo one > f
chmod 640 f
echo swap > .f.swp
mv f f~
echo two > f
sync f
chmod 640 f
rm f~ .f.swp
cat f
cp -p f f~
echo three > f
sync f
rm f~
cat f
# How others do: a new file takes the name.
cp -p f .f.new
echo four > .f.new
sync .f.new
mv .f.new f
cat f
