copy() { dd status=none "$@"; }
seq 20000 > in
truncate -s 2M holes
printf x | copy of=holes bs=1 seek=1000000 conv=notrunc
copy if=in of=plain
copy if=in of=plain bs=7 count=3 seek=2 conv=notrunc
copy if=in of=fsynced bs=1000 conv=fsync
copy if=in of=fdatasynced conv=fdatasync
copy if=holes of=sparse bs=64k conv=sparse
cmp holes sparse
copy if=in of=new conv=excl
copy if=in of=new conv=excl 2>/dev/null || echo refused
copy if=in of=absent conv=nocreat 2>/dev/null || echo absent
copy if=in of=new conv=nocreat count=1
copy if=in of=padded bs=1000 conv=sync
copy if=in of=loud conv=ucase,swab
copy if=loud of=low conv=lcase
copy if=in of=odd bs=333 conv=noerror,sync
copy if=in of=ebcdic conv=ebcdic
copy if=ebcdic of=ascii conv=ascii
copy if=in of=ibm conv=ibm
copy if=in of=blocked cbs=10 conv=block
copy if=blocked of=unblocked cbs=10 conv=unblock
copy if=in of=appended oflag=append conv=notrunc
copy if=in of=appended oflag=append conv=notrunc
copy if=in of=synchronous bs=4096 iflag=fullblock oflag=sync
copy if=in of=past-the-cache iflag=direct bs=4096
sha256sum *
