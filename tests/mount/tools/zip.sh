. "$TOOLS/planted"
zip -qry t.zip tree
mkdir out
(cd out; unzip -q ../t.zip)
diff -r --no-dereference tree out/tree
unzip -tq t.zip
zip -q t.zip -d tree/plain
unzip -Z1 t.zip | sort
rm t.zip
