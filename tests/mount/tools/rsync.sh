. "$TOOLS/planted"
rsync -a tree/ copy
echo more >> tree/plain
rm tree/link
touch -d 2005-01-01 tree tree/plain
rsync -ai --delete tree/ copy | sort
rsync -ani --delete tree/ copy
rsync -a --inplace --no-whole-file tree/large copy/
echo tail >> tree/plain
rsync -a --partial --append-verify tree/plain copy/
