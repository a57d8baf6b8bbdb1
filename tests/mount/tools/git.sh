git init -q -b main upstream
cd upstream
seq 5000 > numbers
git add .
git commit -qm 0
for i in $(seq "$COMMITS"); do
    echo "$i" > file$((i % 7))
    git add .
    git commit -qm "$i"
done
git branch side HEAD~5
git checkout -q side
echo side > side
git add side
git commit -qm side
git checkout -q main
git merge -q -m merge side
cd ..
git clone -q upstream work 2>/dev/null
cd work
git log --format=%H | sha256sum
git gc -q --prune=now
git fsck --full --strict
git repack -adq
echo changed >> numbers
git status --porcelain
git stash -q
git status --porcelain
git stash pop -q
git diff --stat
git worktree add -q ../another
git push -q origin HEAD:other
cd ../upstream
git gc -q
git fsck --full --strict
git rev-parse other
git count-objects
