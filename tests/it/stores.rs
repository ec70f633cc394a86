//! `weir trust install`, `check` and `uninstall` on this host's own stores, in a mount namespace whose
//! `/etc` and `/usr/local/share` are copies: real programs, and nothing of it stays.

use harness::{Output, Route, Stage, on_stage};
use serde_json::Value;

/// Puts copies in place of what is changed; `tree` prints what is there, to the last
/// bit and mode.
const COPIES: &str = r#"
set -e
copies=$(mktemp -d)
trap 'umount -l "$copies"; rmdir "$copies"' EXIT
mount -t tmpfs none "$copies"
for place in etc usr/local/share; do
    name=$(echo $place | tr / -)
    mkdir "$copies/$name" "$copies/$name.work"
    mount -t overlay none -o "lowerdir=/$place,upperdir=$copies/$name,workdir=$copies/$name.work" /$place
done
# All of them anew, by programs that are not on every user's path: Java's store gets only what has
# changed otherwise, and may lack what came before.
PATH=/usr/sbin:/usr/bin:/sbin:/bin update-ca-certificates --fresh >/dev/null 2>&1
java=/etc/ssl/certs/java/cacerts
tree() {
    find /etc /usr/local/share -printf '%p %m %U %G %l\n' | sort
    find /etc /usr/local/share -type f ! -path "$java" -exec sha256sum {} + | sort
    # Java's own store is made by the system's program, and says when each root came.
    test ! -e $java || keytool -list -rfc -keystore $java -storepass changeit 2>/dev/null |
        grep -v '^Creation date' | sort
}
clean() { env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/root "$@"; }
"#;

/// Runs a script on copies of the host's stores; `weir` in it is the agent's.
async fn on_copies(stage: &Stage, script: &str) -> anyhow::Result<Output> {
    let weir = stage.weir(&[])?.join(" ");
    let script = format!("{COPIES}weir() {{ {weir} \"$@\"; }}\nWEIR='{weir}'\n{script}");
    stage.succeed(Route::Direct, &["unshare", "-m", "sh", "-c", &script]).await
}

#[test]
fn uninstalling_leaves_the_host_as_it_was() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let script = r#"
tree >"$copies/before"
weir trust install --stores system,java,nss,env --yes
tree >"$copies/installed"
cmp -s "$copies/before" "$copies/installed" && exit 3
weir doctor --leftovers >"$copies/left" && exit 4
grep -q 'CA in the system store' "$copies/left"
grep -q '60-weir.conf' "$copies/left"
weir trust uninstall
tree >"$copies/after"
diff "$copies/before" "$copies/after"
# What belongs to the agent that runs, and to tests beside this one, is still there.
weir doctor --leftovers | grep -E 'system store|60-weir|profile\.d|/etc/weir' && exit 5
echo as it was
"#;
        let output = on_copies(stage, script).await?;
        assert!(output.stdout.ends_with("as it was\n"), "{}", output.stdout);
        Ok(())
    })
}

#[test]
fn real_clients_are_asked_whether_they_accept_the_ca() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start_untrusted(&config).await?;
        let script = r#"
check() { clean "$@" || test $? = 10; }
check $WEIR trust check --all --json
echo ---
weir trust install --stores system --yes >/dev/null
check $WEIR trust check --all --json
echo ---
weir trust install --stores env --yes >/dev/null
check sh -c '. /etc/profile.d/weir.sh; exec "$@"' sh $WEIR trust check --all --json
"#;
        let output = on_copies(stage, script).await?;
        let matrices = output.stdout.split("---").map(serde_json::from_str);
        let matrices = matrices.collect::<Result<Vec<Value>, _>>()?;
        for (client, expected) in [
            ("curl", [false, true, true]),
            ("openssl", [false, true, true]),
            ("python-urllib", [false, true, true]),
            ("node", [false, false, true]),
        ] {
            let trusts: Vec<&Value> = matrices.iter().map(|matrix| row(matrix, client)).collect();
            for (found, trusts) in trusts.iter().zip(expected) {
                assert_eq!(found["trusts"], trusts, "{client}: {trusts:?} {found}");
                assert_eq!(found["fix"].is_null(), trusts, "{found}");
            }
        }
        Ok(())
    })
}

fn row<'a>(matrix: &'a Value, client: &str) -> &'a Value {
    let rows = matrix["rows"].as_array().into_iter().flatten();
    rows.into_iter().find(|row| row["client"] == client).unwrap_or(&Value::Null)
}
