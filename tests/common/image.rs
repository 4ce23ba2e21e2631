//! A small real image: busybox in three layers, made by umoci.

use super::process::run_in;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// An image as an OCI layout, tag `1.35`, and where its parts are.
pub(crate) struct Image {
    /// The layout.
    pub(crate) layout: PathBuf,
    /// Digest of the manifest.
    pub(crate) manifest: String,
    /// Digest of the config.
    pub(crate) config: String,
    /// Digests of the layers, the lowest first.
    pub(crate) layers: Vec<String>,
}

/// The image; built by the first who asks, and kept for later runs beside what cargo builds.
/// Needs `umoci`, `busybox` and `jq`.
pub(crate) fn image() -> Image {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("image-1");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.join("done").exists() {
        build(&folder);
        File::create(folder.join("done")).unwrap();
    }
    lock.unlock().unwrap();
    Image::open(folder.join("oci"))
}

impl Image {
    fn open(layout: PathBuf) -> Self {
        let query = |file: &str, question: &str| {
            run_in(&layout, &format!("jq -r '{question}' {file}")).trim().to_owned()
        };
        let manifest = query("index.json", ".manifests[0].digest");
        let file = format!("blobs/{}", manifest.replace(':', "/"));
        let config = query(&file, ".config.digest");
        let layers = query(&file, ".layers[].digest").lines().map(str::to_owned).collect();
        Self { layout, manifest, config, layers }
    }

    /// The file that holds a blob.
    pub(crate) fn blob(&self, digest: &str) -> PathBuf {
        self.layout.join("blobs").join(digest.replace(':', "/"))
    }

    /// For sessions: BLOBS (a folder), MANIFEST, CONFIG, LAYER1, LAYER2, LAYER3 (digests), and each
    /// with _FILE for its file.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let layers = self.layers.iter().enumerate();
        let layers = layers.map(|(index, digest)| (format!("LAYER{}", index + 1), digest.clone()));
        let digests: Vec<(String, String)> = [
            ("MANIFEST".to_owned(), self.manifest.clone()),
            ("CONFIG".to_owned(), self.config.clone()),
        ]
        .into_iter()
        .chain(layers)
        .collect();
        let files = digests
            .iter()
            .map(|(name, digest)| (format!("{name}_FILE"), self.blob(digest).display().to_string()))
            .collect::<Vec<_>>();
        let layout = ("LAYOUT".to_owned(), self.layout.display().to_string());
        digests.into_iter().chain(files).chain([layout]).collect()
    }
}

/// Three layers: the program with its many hard links; plain files; files that go and come.
fn build(folder: &Path) {
    const STEPS: &str = r"
        set -e
        rm -rf oci bundle
        umoci init --layout oci
        umoci new --image oci:1.35
        rootless=; [ $(id -u) = 0 ] || rootless=--rootless
        umoci unpack $rootless --image oci:1.35 bundle
        cd bundle/rootfs
        mkdir bin
        cp $(command -v busybox) bin/busybox
        for name in sh ls cat cp mv ln rm; do ln bin/busybox bin/$name; done
        cd ../..
        umoci repack --refresh-bundle --image oci:1.35 bundle
        mkdir -p bundle/rootfs/etc bundle/rootfs/usr/share/words
        echo 'root:x:0:0:root:/:/bin/sh' > bundle/rootfs/etc/passwd
        for word in alpha beta gamma; do echo $word > bundle/rootfs/usr/share/words/$word; done
        ln -s words bundle/rootfs/usr/share/dict
        umoci repack --refresh-bundle --image oci:1.35 bundle
        rm bundle/rootfs/usr/share/words/beta
        echo delta > bundle/rootfs/usr/share/words/delta
        umoci repack --refresh-bundle --image oci:1.35 bundle
        umoci config --config.cmd /bin/sh --image oci:1.35
        umoci gc --layout oci
        rm -rf bundle
    ";
    run_in(folder, STEPS);
}
