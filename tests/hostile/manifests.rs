//! Manifests that were made to do harm: refused or taken, but in bounded time and memory, whether they
//! are copied to a tag or lie in the store already.

use crate::common::{self, Mount, digest_of, needs, noise, reliability_row, run_in, try_in};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// How long one may take, whatever is done with it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Memory of the daemon at its most, after all of them. The longest manifest has 4 MiB.
const MEMORY_KIB_MAX: u64 = 384 << 10;

/// A manifest of an image, with `members` behind what is needed.
fn image(members: &str) -> Vec<u8> {
    format!(r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",{members}}}"#)
        .into_bytes()
}

fn repeated(one: &str, bytes: usize) -> String {
    let count = bytes / one.len();
    vec![one; count].join(",")
}

/// Each with its name.
fn table() -> Vec<(&'static str, Vec<u8>)> {
    const M: usize = 1 << 20;
    let digest = digest_of(b"x");
    let layer = format!(r#"{{"mediaType":"x","digest":"{digest}","size":1}}"#);
    let config = format!(r#""config":{layer}"#);
    let signed = |signatures: &str| {
        format!(r#"{{"schemaVersion":1,"name":"a","tag":"t","fsLayers":[],"history":[],"signatures":[{signatures}]}}"#).into_bytes()
    };
    let protected = "eyJmb3JtYXRMZW5ndGgiOjk5OTk5OTk5OTk5OTk5OTk5OTksImZvcm1hdFRhaWwiOiJDbjAifQ";
    let signature =
        format!(r#"{{"header":{{"alg":"ES256"}},"protected":"{protected}","signature":"AA"}}"#);
    vec![
        ("100 MB of zeros", vec![0; 100 * M]),
        ("100 MB of brackets", vec![b'['; 100 * M]),
        ("4 MiB of brackets", vec![b'['; 4 * M]),
        ("4 MiB of objects in objects", r#"{"a":"#.repeat(4 * M / 5).into_bytes()),
        ("deep in an annotation", image(&format!(r#""annotations":{}{},{config},"layers":[]"#, "[".repeat(M), "]".repeat(M)))),
        ("deep in a config", image(&format!(r#""config":{}1{}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000)))),
        ("a number beyond all", image(&format!(r#""config":{{"mediaType":"x","digest":"{digest}","size":1e400}},"layers":[]"#))),
        ("a number of 3 MiB", image(&format!(r#""config":{{"mediaType":"x","digest":"{digest}","size":{}}},"layers":[]"#, "9".repeat(3 * M)))),
        ("a number below zero", image(&format!(r#""config":{{"mediaType":"x","digest":"{digest}","size":-1}},"layers":[]"#))),
        ("2^64", image(&format!(r#""config":{{"mediaType":"x","digest":"{digest}","size":18446744073709551616}},"layers":[]"#))),
        ("a key twice", image(&format!(r#"{config},{config},"layers":[],"layers":[]"#))),
        ("a media type twice", image(&format!(r#""mediaType":"application/vnd.oci.image.index.v1+json",{config},"layers":[],"manifests":[]"#))),
        ("a version twice", format!(r#"{{"schemaVersion":1,"schemaVersion":2,{config},"layers":[]}}"#).into_bytes()),
        ("a million layers", image(&format!(r#"{config},"layers":[{}]"#, repeated("{}", 3 * M)))),
        ("30,000 layers", image(&format!(r#"{config},"layers":[{}]"#, repeated(&layer, 3 * M)))),
        ("a digest out of the store", image(r#""config":{"mediaType":"x","digest":"sha256:../../../../../../etc/passwd","size":1},"layers":[]"#)),
        ("a digest of 3 MiB", image(&format!(r#""config":{{"mediaType":"x","digest":"sha256:{}","size":1}},"layers":[]"#, "a".repeat(3 * M)))),
        ("a media type of 3 MiB", image(&format!(r#""config":{{"mediaType":"{}","digest":"{digest}","size":1}},"layers":[]"#, "a".repeat(3 * M)))),
        ("an unknown media type with escapes", br#"{"schemaVersion":2,"mediaType":"\u001b[2J\u001b]0;x\u0007\n\u202e"}"#.to_vec()),
        ("a million annotations", image(&format!(r#"{config},"layers":[],"annotations":{{{}}}"#, repeated(r#""a":"""#, 3 * M)))),
        ("no text", noise(7, M)),
        ("a mark of byte order", [b"\xef\xbb\xbf", &*image(&format!(r#"{config},"layers":[]"#))].concat()),
        ("bytes that are no text", image("\"a\":\"\u{0}\u{1b}\"")),
        ("half a surrogate", image(r#""a":"\ud800""#)),
        ("an index of 20,000", format!(r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#, repeated(&layer, 3 * M)).into_bytes()),
        ("30,000 signatures", signed(&repeated(&signature, 3 * M))),
        ("a signature of 3 MiB", signed(&format!(r#"{{"header":{{"alg":"ES256"}},"protected":"{protected}","signature":"{}"}}"#, "A".repeat(3 * M)))),
        ("a certificate of 3 MiB", signed(&format!(r#"{{"header":{{"alg":"RS256","x5c":["{}"]}},"protected":"{protected}","signature":"AA"}}"#, "MIIB".repeat(3 * M / 4)))),
        ("a key of 2 MiB", signed(&format!(r#"{{"header":{{"alg":"RS256","jwk":{{"kty":"RSA","kid":"x","n":"{}","e":"AQAB"}}}},"protected":"{protected}","signature":"AA"}}"#, "v".repeat(2 * M)))),
        ("signatures that are a number", br#"{"schemaVersion":1,"signatures":1e999}"#.to_vec()),
    ]
}

/// Puts `bytes` into the store as docker-registry would have, under `a:vN`.
fn plant(store: &Path, bytes: &[u8], number: usize) {
    let digest = digest_of(bytes);
    let hex = &digest[7..];
    let v2 = store.join("docker/registry/v2");
    let manifests = v2.join("repositories/a/_manifests");
    for link in [
        format!("revisions/sha256/{hex}"),
        format!("tags/v{number}/current"),
        format!("tags/v{number}/index/sha256/{hex}"),
    ] {
        fs::create_dir_all(manifests.join(&link)).unwrap();
        fs::write(manifests.join(&link).join("link"), &digest).unwrap();
    }
    let blob = v2.join("blobs/sha256").join(&hex[..2]).join(hex);
    fs::create_dir_all(&blob).unwrap();
    fs::write(blob.join("data"), bytes).unwrap();
}

/// Runs a command that may fail, but not take long, and shows nothing that a terminal obeys.
fn run(what: &str, mount: &Mount, command: &str) {
    let start = Instant::now();
    let (code, text) = try_in(mount.beside(), &[], command);
    assert!(start.elapsed() < PATIENCE, "{what}: {command} took {:?}", start.elapsed());
    assert!(matches!(code, Some(0..=2)), "{what}: {command}: {code:?} {text}");
    let is_obeyed = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!text.contains(is_obeyed), "{what}: {command}: {text:?}");
}

fn check_memory(mount: &Mount) {
    let status =
        run_in(mount.path(), &format!("grep VmHWM /proc/{}/status | tr -dc 0-9", mount.pid()));
    let memory: u64 = status.trim().parse().unwrap();
    assert!(memory < MEMORY_KIB_MAX, "{memory} KiB of memory");
}

#[test]
fn a_hostile_manifest_is_refused_in_bounded_time_and_memory() {
    needs!("fuse", "getfattr", "jq");
    let mut mount = Mount::with_options(&["relaxed"]);
    run_in(mount.path(), "mkdir a");
    let table = table();
    for (number, (what, bytes)) in table.iter().enumerate() {
        fs::write(mount.beside().join("file"), bytes).unwrap();
        run(
            what,
            &mount,
            &format!("cp file mnt/a/manifests/w{number}; tail -n 1 mnt/.regfs/errors"),
        );
        let name = format!("mnt/a/manifests/{}", digest_of(bytes));
        run(what, &mount, &format!("cp file {name}; rm -f {name} mnt/a/manifests/w{number}"));
        if what.starts_with("100 MB") {
            run(
                what,
                &mount,
                "cp file mnt/a/uploads/x; mv mnt/a/uploads/x mnt/a/manifests/x; rm -f mnt/a/uploads/x",
            );
        }
    }
    check_memory(&mount);
    mount.unmount();
    for (number, (_, bytes)) in table.iter().enumerate() {
        plant(mount.store(), bytes, number);
    }
    mount.mount(&[]);
    run("all", &mount, "ls -lR mnt; getfattr -R -d mnt/a/manifests > /dev/null");
    for (number, (what, _)) in table.iter().enumerate() {
        let tag = format!("mnt/a/manifests/v{number}");
        run(
            what,
            &mount,
            &format!(
                "cat {tag} > /dev/null; getfattr -d -m - -n user.regfs.digest {tag} > /dev/null"
            ),
        );
        run(
            what,
            &mount,
            &format!("ln {tag} mnt/a/manifests/l{number}; rm -f mnt/a/manifests/l{number}"),
        );
    }
    check_memory(&mount);
    run("all", &mount, "ulimit -v 2000000; regfs verify store");
    run("all", &mount, "regfs gc --dry-run store");
    assert!(!mount.log().contains("panicked"));
    reliability_row(
        "hostile manifests, pushed and planted",
        table.len() as u64,
        "each refused or served in less than 10 s, in less than 384 MiB",
        "cargo test --release --test hostile manifest",
    );
}
