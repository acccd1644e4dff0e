//! `Images`: the image names of a store.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::Arc;

use pyo3::prelude::*;
use steelyard_core::digest::Digest;
use steelyard_core::error::{Error, Result as CoreResult};
use steelyard_core::model::{Image, Target};
use steelyard_core::store;
use steelyard_core::volume::images::{Change, Taken};

use crate::errors::{Failure, Result};
use crate::filter::Filter;
use crate::handle::Handle;

/// digest, size, media type, annotations
pub(crate) type TargetRow = (String, Option<u64>, Option<String>, BTreeMap<String, String>);
/// name, target, created (ns), updated (ns), labels
pub(crate) type ImageRow = (String, TargetRow, i64, i64, BTreeMap<String, String>);

/// The image names of an open root.
#[pyclass(frozen, module = "steelyard._native")]
pub(crate) struct Images {
    path: String,
    core: Handle<store::Store>,
}

impl Images {
    pub(crate) fn new(core: Handle<store::Store>, path: &OsStr) -> Self {
        Self { path: path.display().to_string(), core }
    }

    fn core(&self) -> CoreResult<Arc<store::Store>> {
        self.core.get(|| format!("store {}", self.path))
    }
}

#[pymethods]
impl Images {
    /// Set names. `taken` says how to treat a name that exists: "refuse" it, "keep" it if it has the same target, or "overwrite" it.
    #[pyo3(signature = (targets, /, *, labels, taken))]
    fn assign(
        &self,
        py: Python<'_>,
        targets: Vec<(String, TargetRow)>,
        labels: Option<BTreeMap<String, String>>,
        taken: &str,
    ) -> Result<Vec<ImageRow>> {
        py.detach(|| {
            let targets = targets.into_iter().map(|(name, row)| Ok((name, target(row)?)));
            let targets = targets.collect::<CoreResult<Vec<_>>>()?;
            let taken = match taken {
                "overwrite" => Taken::Overwrite,
                "keep" => Taken::Keep,
                _ => Taken::Refuse,
            };
            let images = self.core()?.volume().assign_images(&targets, labels.as_ref(), taken)?;
            Ok::<_, Error>(images.into_iter().map(image_row).collect())
        })
        .map_err(Failure::from)
    }

    /// Change the target and the labels, unless they are None. With `keys`, change only these labels.
    #[pyo3(signature = (name, /, *, target, labels, keys, expected))]
    fn update(
        &self,
        py: Python<'_>,
        name: &str,
        target: Option<TargetRow>,
        labels: Option<BTreeMap<String, String>>,
        keys: Option<Vec<String>>,
        expected: Option<&str>,
    ) -> Result<ImageRow> {
        py.detach(|| {
            let target = target.map(self::target).transpose()?;
            let change = Change { target, labels: labels.map(|labels| (labels, keys)) };
            self.core()?.volume().update_image(name, &change, expected).map(image_row)
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (name, /))]
    fn get(&self, py: Python<'_>, name: &str) -> Result<ImageRow> {
        py.detach(|| self.core()?.volume().image(name)).map(image_row).map_err(Failure::from)
    }

    #[pyo3(signature = (filter, /))]
    fn list(&self, py: Python<'_>, filter: &Filter) -> Result<Vec<ImageRow>> {
        py.detach(|| {
            let images = self.core()?.volume().images(filter.compiled())?;
            Ok::<_, Error>(images.into_iter().map(image_row).collect())
        })
        .map_err(Failure::from)
    }

    #[pyo3(signature = (name, /, *, expected))]
    fn delete(&self, py: Python<'_>, name: &str, expected: Option<&str>) -> Result<()> {
        py.detach(|| self.core()?.volume().delete_image(name, expected)).map_err(Failure::from)
    }
}

fn target((digest, size, media_type, annotations): TargetRow) -> CoreResult<Target> {
    Ok(Target { digest: Digest::parse(&digest)?, size, media_type, annotations })
}

fn image_row(image: Image) -> ImageRow {
    let Target { digest, size, media_type, annotations } = image.target;
    let target = (digest.to_string(), size, media_type, annotations);
    (image.name, target, image.created_ns, image.updated_ns, image.labels)
}
