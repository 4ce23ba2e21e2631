//! A registry as plain files on a disk, before and after a day's work; and what makes two trees
//! equal.

use crate::common::{digest_of, image, manifest_of, noise, run_in, run_within};
use std::{fs, path::Path, time::Duration};

/// How long one rsync may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Writes the registry as it is before: a real image, a repository in a repository, tags of one
/// manifest, layers of many sizes, uploads, and modes, owners, times and extended attributes.
pub(crate) fn write_before(folder: &Path) {
    fs::create_dir(folder).unwrap();
    write_image(&folder.join("library/busybox"));
    let nested = folder.join("library/busybox/debug");
    let layer = write_layer(&nested, &noise(1, 3000));
    write_manifest(&nested, "latest", &[&layer]);
    let app = folder.join("team/app");
    let layers: Vec<String> = [5 << 20, 700_000]
        .into_iter()
        .chain((0..12).map(|index| 1 + index * 7919))
        .zip(10..)
        .map(|(length, seed)| write_layer(&app, &noise(seed, length)))
        .collect();
    // Long runs of zeros, for rsync -S.
    let mut sparse = vec![0; 1 << 20];
    sparse[..1000].copy_from_slice(&noise(2, 1000));
    let sparse = write_layer(&app, &sparse);
    let empty = write_layer(&app, b"");
    write_manifest(&app, "1.0", &[&layers[0], &layers[2], &sparse]);
    write_manifest(&app, "2.0", &[&layers[1], &empty]);
    run_in(
        &app,
        &format!(
            "ln manifests/1.0 manifests/latest
            : > uploads/nothing; echo some > 'uploads/an odd, näme'
            head -c 1500000 layers/{big} > uploads/half
            chmod 600 layers/{big}; chown 12:34 layers/{big}
            touch -d '1969-02-03 04:05:06.123456789' layers/{big}
            chmod 0 layers/{empty}; chmod 755 layers/{sparse}; chmod 640 uploads/half
            touch -d '2050-01-01' manifests/2.0; touch -d '2001-02-03 04:05:06.7' layers/{empty}
            setfattr -n user.note -v big layers/{big}; setfattr -n user.note -v two manifests/2.0
            setfattr -n user.note -v half uploads/half; setfattr -n user.note -v app .
            setfattr -n user.note -v area manifests
            chmod 2750 .; chmod 700 layers; chmod 775 uploads; chown :34 uploads
            touch -d '2001-01-01' . manifests ..; touch -d '2002-02-02' layers uploads",
            big = layers[0],
        ),
    );
    set_times(folder, "2020-05-05 05:05:05.5");
}

/// Writes the registry as it is after: a tag has moved, another came and one went, and so did
/// layers; an upload has grown and one is done.
pub(crate) fn write_after(before: &Path, folder: &Path) {
    run_in(before, &format!("cp -a . {}", folder.display()));
    let app = folder.join("team/app");
    let gone = fs::read_dir(app.join("layers")).unwrap().map(|entry| entry.unwrap().path());
    let gone = gone.filter(|layer| layer.metadata().unwrap().len() == 1 + 5 * 7919);
    gone.for_each(|layer| fs::remove_file(layer).unwrap());
    let new = write_layer(&app, &noise(30, 900_000));
    // Beside, so that the other name of it stays as it was.
    fs::remove_file(app.join("manifests/latest")).unwrap();
    write_manifest(&app, "latest", &[&new]);
    write_manifest(&app, "3.0", &[&new]);
    let debug = folder.join("library/busybox/debug");
    write_manifest(&debug, "next", &[&write_layer(&debug, &noise(31, 100))]);
    run_in(
        &app,
        "rm manifests/2.0 uploads/nothing
        for layer in layers/*; do tail -c +1500001 $layer | head -c 800000 >> uploads/half; done
        touch -d '2040-03-03' manifests/latest",
    );
    set_times(folder, "2030-03-03 03:03:03.3");
}

/// Gives one time to everything that was made or changed just now. To rsync, times of the same
/// second are equal, so those that the clock gives would be kept sometimes.
fn set_times(folder: &Path, time: &str) {
    let just_now = "-newermt 2021-01-01 ! -newermt 2029-01-01";
    run_in(folder, &format!("find . {just_now} -exec touch -d '{time}' {{}} +"));
}

fn write_image(repository: &Path) {
    let image = image();
    make_repository(repository);
    for digest in image.layers.iter().chain([&image.config]) {
        fs::copy(image.blob(digest), repository.join("layers").join(digest)).unwrap();
    }
    fs::copy(image.blob(&image.manifest), repository.join("manifests/1.35")).unwrap();
}

/// Makes the three folders that the mount shows of every repository.
fn make_repository(repository: &Path) {
    for area in ["layers", "manifests", "uploads"] {
        fs::create_dir_all(repository.join(area)).unwrap();
    }
}

/// Writes a layer under its digest, unless it is there.
pub(crate) fn write_layer(repository: &Path, bytes: &[u8]) -> String {
    let digest = digest_of(bytes);
    make_repository(repository);
    let file = repository.join("layers").join(&digest);
    if !file.exists() {
        fs::write(file, bytes).unwrap();
    }
    digest
}

/// Writes a manifest with the config `{}` and these layers.
pub(crate) fn write_manifest(repository: &Path, tag: &str, layers: &[&str]) {
    let config = write_layer(repository, b"{}");
    let layers: Vec<(&str, usize)> = layers.iter().map(|digest| (*digest, 1)).collect();
    fs::write(repository.join("manifests").join(tag), manifest_of((&config, 2), &layers)).unwrap();
}

/// What must be the same in two trees.
#[derive(Clone, Copy, Default)]
pub(crate) struct Same {
    /// The times of folders as well.
    pub(crate) folder_times: bool,
    /// Extended attributes as well, but for those that follow from the content.
    pub(crate) extended: bool,
}

/// Fails unless two trees have the same files with the same content and attributes, and no temporary
/// file has stayed.
#[track_caller]
pub(crate) fn assert_equal(what: &str, one: &Path, other: &Path, same: Same) {
    let diff = format!("diff -r {} {}", one.display(), other.display());
    let text = run_within(PATIENCE, one, &format!("{diff} || true"));
    assert_eq!(text, "", "after {what}: {diff}");
    let (one, other) = (attributes(one, same), attributes(other, same));
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (missing, extra) = (only(&one, &other), only(&other, &one));
    assert!(missing.is_empty() && extra.is_empty(), "after {what}\n{missing}\nbecame\n{extra}");
    assert!(!other.iter().any(|line| line.contains("/.")), "after {what} stayed: {other:?}");
}

/// The attributes of everything in a tree, a line for each thing.
fn attributes(folder: &Path, same: Same) -> Vec<String> {
    let times = if same.folder_times { " %T@" } else { "" };
    let find = format!(
        "find . -type f -printf '%p %m %s %U:%G %T@\\n' -o -type d -printf '%p/ %m %U:%G{times}\\n'"
    );
    let mut lines: Vec<String> =
        run_within(PATIENCE, folder, &find).lines().map(str::to_owned).collect();
    if same.extended {
        // One block for each file. What the mount says of the content is no attribute that was set.
        let text = run_within(
            PATIENCE,
            folder,
            "getfattr -R -d -m '^user[.]' . | grep -v '^user.regfs[.]'",
        );
        let blocks = text.split("# file: ").map(|block| block.trim().replace('\n', " "));
        lines.extend(blocks.filter(|block| block.contains('=')));
    }
    lines
}
