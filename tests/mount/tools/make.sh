printf 'int f(void);\nint main(void) { return f(); }\n' > m.c
printf 'int f(void) { return 0; }\n' > f.c
printf 'p: m.o f.o\n\tgcc -o p m.o f.o\n%%.o: %%.c\n\tgcc -c -o $@ $<\n' > Makefile
make -j2 | sort
./p
make -q
touch -d '+1 minute' f.c
make -n 2>&1 | grep -v 'modification time\|Clock skew'
rm p *.o
