//! A repository: what it links of the content that all share.

use crate::model::{
    Algorithm, Area, AttributesChange, Digest, Error, RepositoryName, Result, UploadId, UploadName,
};
use crate::registry::{
    AttributeService, Cursor, Layer, LayerService, LayerStat, LayerUpload, ManifestService,
    Repository, UploadReader, UploadStat,
};
use crate::store::{
    Store,
    attributes::{self, Carried, attributes},
    blobs,
    directory::{Listing, Reading},
    durable::Draft,
    folder::{self, Folder},
    layout,
    links::{self, Link},
    tags,
    upload::LocalUpload,
    uploads,
};
use rustix::fs::OFlags;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

/// How often something is made in a repository that others remove as fast as it is made.
const MAKES_MAX: usize = 8;
/// How often to look what becomes of a repository in the trash.
const REMOVAL_LOOKS_MAX: u32 = 100;
/// How long to wait between two such looks.
const REMOVAL_PAUSE: Duration = Duration::from_millis(1);

/// A repository by its name; nothing need be there.
pub(super) struct LocalRepository {
    pub(super) store: Arc<Store>,
    pub(super) name: RepositoryName,
}

impl Repository for LocalRepository {
    fn name(&self) -> &RepositoryName {
        &self.name
    }

    fn manifests(&self) -> &dyn ManifestService {
        self
    }

    fn layers(&self) -> &dyn LayerService {
        self
    }

    fn attributes(&self) -> &dyn AttributeService {
        self
    }
}

impl LocalRepository {
    /// A path in the repository's folder, relative to the store.
    pub(super) fn at(&self, inner: impl AsRef<Path>) -> PathBuf {
        layout::repository(&self.name).join(inner)
    }

    fn layer_unknown(&self, digest: &Digest) -> Error {
        Error::LayerUnknown(self.name.clone(), *digest)
    }

    /// The link that gives this repository the layer. Errors: `LayerUnknown`.
    fn layer_link(&self, digest: &Digest) -> Result<Link> {
        let link = links::read(&self.store.root, self.at(layout::layer_link(digest)))?;
        link.ok_or_else(|| self.layer_unknown(digest))
    }
}

/// How the entries of a folder of links are read: as digests that lead to content.
pub(super) fn live_digests(store: &Arc<Store>, algorithm: Algorithm) -> Reading<Digest> {
    let store = Arc::clone(store);
    Box::new(move |folder, entry| {
        let Some(digest) = layout::parse_digest(algorithm, &entry.name) else { return Ok(None) };
        // One that cannot be looked at is to be seen, and must not hide the others.
        let is_live = store.is_live(folder, &layout::link_in(&digest), &digest).unwrap_or(true);
        Ok(is_live.then_some(digest))
    })
}

impl Store {
    /// The layers that the repository in `folder` links.
    pub(super) fn layers(self: &Arc<Self>, folder: Option<&Folder>) -> Result<Listing<Digest>> {
        self.digests(folder, &Algorithm::ALL, layout::layers)
    }

    /// The digests in a repository's folders of links, one for each of `algorithms`.
    pub(super) fn digests(
        self: &Arc<Self>, repository: Option<&Folder>, algorithms: &[Algorithm],
        links: fn(Algorithm) -> PathBuf,
    ) -> Result<Listing<Digest>> {
        let mut folders = Vec::with_capacity(algorithms.len());
        for &algorithm in algorithms {
            let folder = match repository {
                Some(repository) => repository.open_folder(links(algorithm))?,
                None => None,
            };
            folders.push((folder, live_digests(self, algorithm)));
        }
        Listing::new(folders)
    }

    /// Links `canonical` as the layer `digest` in `repository`, under both names when they differ.
    /// What `change` leaves open stays, or gets its default. A TarSum that has content keeps it.
    fn link_layer(
        &self, repository: &Folder, digest: &Digest, canonical: &Digest, change: &AttributesChange,
    ) -> Result<()> {
        let names = [canonical, digest];
        let count = if canonical == digest { 1 } else { 2 };
        for name in &names[..count] {
            let at = layout::layer_link(name);
            let place = repository.place(&at);
            let there = match links::read(repository, &at) {
                Ok(link) => link.is_some_and(|link| link.digest == *canonical),
                Err(Error::LinkDamaged { .. }) => false,
                Err(error) => return Err(error),
            } || self.is_pinned(repository, name)?;
            match repository.open_file(&at, OFlags::RDONLY)?.filter(|_| there) {
                Some(file) => attributes::change(&file, change, &place.path())?,
                None => {
                    let carried = Carried::default().but(change);
                    let link = links::draft(self.scratch()?, canonical, &carried)?;
                    self.publish_link(repository, link, name)?;
                    self.area_changed(repository, Area::Layers);
                }
            }
        }
        Ok(())
    }

    /// Whether `name` is a TarSum under which `repository` has content. That stays whatever else
    /// has the same sum: the bytes behind a name never change.
    pub(super) fn is_pinned(&self, repository: &Folder, name: &Digest) -> Result<bool> {
        if !name.algorithm().is_tarsum() {
            return Ok(false);
        }
        match links::read(repository, layout::layer_link(name)) {
            // What is in quarantine is no content that could stay.
            Ok(Some(link)) => match self.stat_blob(&link.digest) {
                Err(Error::Damaged { .. }) => Ok(false),
                blob => Ok(blob?.is_some()),
            },
            Ok(None) | Err(Error::LinkDamaged { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives `repository` a layer under `name`. Of those with one TarSum the first has the name.
    pub(super) fn publish_link(
        &self, repository: &Folder, mut link: Draft<'_>, name: &Digest,
    ) -> Result<()> {
        let at = layout::layer_link(name);
        let place = repository.place(&at);
        if name.algorithm().is_tarsum() {
            link = match link.publish_new(place)? {
                Some(link) if !self.is_pinned(repository, name)? => link,
                Some(_) | None => return Ok(()),
            };
        }
        link.publish(place)
    }

    /// Calls `make` to make something in the folder that `open` opens; once more when the repository
    /// was removed meanwhile, with what was made: we come after whoever removed it.
    pub(super) fn in_repository<T>(
        &self, open: impl Fn() -> Result<Folder>, mut make: impl FnMut(Folder) -> Result<T>,
    ) -> Result<T> {
        let mut makes = 0;
        loop {
            let folder = open()?;
            let made = make(folder.clone());
            makes += 1;
            if makes == MAKES_MAX || !self.is_removed(&folder)? {
                return made;
            }
        }
    }

    /// Whether a repository's folder is removed. One in the trash may be put back, because what was
    /// made in it is found: that is waited for.
    pub(super) fn is_removed(&self, folder: &Folder) -> Result<bool> {
        let trash = folder::identity(&self.scratch()?.trash().stat_self()?);
        for _ in 0..REMOVAL_LOOKS_MAX {
            if folder.stat_self()?.st_nlink == 0 {
                return Ok(true);
            }
            if folder::identity(&folder.stat_parent()?) != trash {
                return Ok(false);
            }
            thread::sleep(REMOVAL_PAUSE);
        }
        Ok(true)
    }

    /// Refuses a repository that has something a person would miss. Errors: `NotEmpty`.
    ///
    /// A layer that leads nowhere does not count: nobody sees it, so nobody could remove it.
    pub(super) fn check_empty(
        self: &Arc<Self>, folder: &Folder, name: &RepositoryName,
    ) -> Result<()> {
        let children = folder.open_folder(".")?;
        let mut children = Listing::new(vec![(
            children,
            Box::new(|_, entry| {
                Ok(layout::parse_component(&entry.name).filter(|_| entry.is_folder))
            }),
        )])?;
        // Uploads before layers: one that is finished just now is seen as the one or the other.
        let has_something = children.next()?.is_some()
            || !self.scan_uploads(folder)?.is_empty()
            || self.layers(Some(folder))?.next()?.is_some()
            || tags::has_tag(folder)?;
        if has_something { Err(Error::NotEmpty(name.clone())) } else { Ok(()) }
    }

    /// As [`Store::let_age`], of all manifests of a repository that is being removed.
    pub(super) fn let_revisions_age(self: &Arc<Self>, repository: &Folder) {
        let let_age = || {
            let mut revisions =
                self.digests(Some(repository), &Algorithm::OF_BYTES, layout::revisions)?;
            while let Some((digest, _)) = revisions.next()? {
                self.let_age(links::read(repository, layout::revision_link(&digest)));
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = let_age() {
            log::debug!("what it had may be collected before its grace period ends: {error}");
        }
    }
}

impl LayerService for LocalRepository {
    fn digests(&self) -> Result<Box<dyn Cursor<Digest>>> {
        let folder = self.store.open_repository(&self.name)?;
        Ok(Box::new(self.store.layers(folder.as_ref())?))
    }

    fn stat(&self, digest: &Digest) -> Result<LayerStat> {
        let link = self.layer_link(digest)?;
        let blob = self.store.stat_blob(&link.digest)?;
        let blob = blob.ok_or_else(|| self.layer_unknown(digest))?;
        Ok(LayerStat {
            canonical: link.digest,
            length: folder::length(&blob),
            created_at: blobs::created_at(&blob),
            attributes: attributes(&link.stat),
        })
    }

    fn fetch(&self, digest: &Digest) -> Result<Arc<dyn Layer>> {
        let link = self.layer_link(digest)?;
        let layer = self.store.open_blob(&link.digest)?;
        Ok(Arc::new(layer.ok_or_else(|| self.layer_unknown(digest))?))
    }

    fn mount(
        &self, digest: &Digest, from: &RepositoryName, change: &AttributesChange,
    ) -> Result<()> {
        self.store.scratch()?;
        let from = Self { store: Arc::clone(&self.store), name: from.clone() };
        let passage = self.store.pass()?;
        let canonical = LayerService::stat(&from, digest)?.canonical;
        if !self.store.renew(&canonical, &passage)? {
            log::debug!("{canonical} is another user's: its time of last change stays");
        }
        let open = || self.store.open_repository_for_content(&self.name);
        let link = |folder| self.store.link_layer(&folder, digest, &canonical, change);
        self.store.in_repository(open, link)
    }

    fn delete(&self, digest: &Digest) -> Result<()> {
        self.store.scratch()?;
        let repository = self.store.open_repository(&self.name)?;
        let repository = repository.ok_or_else(|| self.layer_unknown(digest))?;
        let at = layout::layer_link(digest);
        self.store.let_age(links::read(&repository, &at));
        match links::remove(&repository, &at)? {
            true => {
                self.store.area_changed(&repository, Area::Layers);
                Ok(())
            }
            false => Err(self.layer_unknown(digest)),
        }
    }

    fn upload(&self, name: &UploadName, change: &AttributesChange) -> Result<Arc<dyn LayerUpload>> {
        let open = || self.store.open_repository_for_content(&self.name);
        let begin = |folder| LocalUpload::begin(self, folder, name, change);
        Ok(Arc::new(self.store.in_repository(open, begin)?))
    }

    fn resume(&self, id: &UploadId) -> Result<Arc<dyn LayerUpload>> {
        self.store.scratch()?;
        let repository = self.store.open_repository(&self.name)?;
        let repository = repository.ok_or(Error::UploadUnknown(*id))?;
        Ok(Arc::new(LocalUpload::resume(self, repository, *id)?))
    }

    fn read_upload(&self, id: &UploadId) -> Result<Arc<dyn UploadReader>> {
        let repository = self.store.open_repository(&self.name)?;
        let reader = match repository {
            Some(repository) => uploads::open_to_read(&self.store, &repository, *id)?,
            None => None,
        };
        Ok(Arc::new(reader.ok_or(Error::UploadUnknown(*id))?))
    }

    fn uploads(&self) -> Result<Vec<UploadStat>> {
        match self.store.open_repository(&self.name)? {
            Some(repository) => self.store.scan_uploads(&repository),
            None => Ok(Vec::new()),
        }
    }

    fn stat_upload(&self, id: &UploadId) -> Result<UploadStat> {
        let repository = self.store.open_repository(&self.name)?;
        let repository = repository.ok_or(Error::UploadUnknown(*id))?;
        let upload = self.store.stat_upload(&repository, *id)?;
        upload.ok_or(Error::UploadUnknown(*id))
    }

    fn find_upload(&self, name: &UploadName) -> Result<Option<UploadId>> {
        match self.store.open_repository(&self.name)? {
            Some(repository) => self.store.find_upload(&repository, name),
            None => Ok(None),
        }
    }

    fn has_upload_folder(&self, area: Area, folder: &OsStr) -> Result<bool> {
        match self.store.open_repository(&self.name)? {
            Some(repository) => {
                self.store.upload_indexes.has_folder(&self.store, &repository, area, folder)
            }
            None => Ok(false),
        }
    }
}
