//! Image names: a store's names for the roots of images. A name holds a descriptor, whether its blob is stored or not.
//!
//! Every change is one transaction of `meta.db`, which excludes other processes, so the conditions that a call has checked are
//! still true when it writes.

use std::sync::Arc;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::model::{Event, EventKind, Image, Labels, Target, check_labels};
use crate::volume::Volume;
use crate::volume::events::{Report, done};

/// The resolution of the times that Python shows, in ns.
const STEP_NS: i64 = 1_000;

/// How [`Volume::assign_images`] handles a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Refuse, whatever its target is.
    Refuse,
    /// Keep it if it has the same target, and refuse otherwise.
    Keep,
    /// Replace its target.
    Overwrite,
}

/// A change of one name. A field that is None stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The new target.
    pub target: Option<Target>,
    /// Its labels: all of them, or with keys only those.
    pub labels: Option<(Labels, Option<Vec<String>>)>,
}

impl Volume {
    /// Set the targets of names, all of them or none; on return the change survives a power loss.
    ///
    /// Without `labels`, an existing name keeps its labels.
    pub fn assign_images(
        &self,
        targets: &[(String, Target)],
        labels: Option<&Labels>,
        taken: Taken,
    ) -> Result<Vec<Image>> {
        self.check_writable()?;
        labels.map_or(Ok(()), check_labels)?;
        let now = self.sys.now_ns();
        let mut reports = Vec::new();
        let images = self.meta.change_images(|names| {
            let mut images = Vec::with_capacity(targets.len());
            for (name, target) in targets {
                let held = names.get(name)?;
                let previous = held.as_ref().map(|image| image.target.digest);
                let image = match held {
                    None => Image {
                        name: name.clone(),
                        target: target.clone(),
                        created_ns: now,
                        updated_ns: now,
                        labels: labels.cloned().unwrap_or_default(),
                    },
                    Some(old) if taken == Taken::Keep && old.target.digest == target.digest => {
                        images.push(old);
                        continue;
                    }
                    Some(old) if taken == Taken::Overwrite => Image {
                        target: target.clone(),
                        updated_ns: now.max(old.updated_ns.saturating_add(STEP_NS)),
                        labels: labels.cloned().unwrap_or_else(|| old.labels.clone()),
                        ..old
                    },
                    Some(old) => return Ok(Err(taken_by(&old))),
                };
                names.put(&image);
                reports.extend(self.begin_name(&image, previous));
                images.push(image);
            }
            Ok(Ok(images))
        })?;
        done(reports);
        Ok(images)
    }

    /// Begin the event of a name that is changed, within the transaction. The event is done when the transaction is durable.
    fn begin_name(&self, image: &Image, previous: Option<Digest>) -> Option<Arc<Report>> {
        let is_moved = previous.is_some_and(|previous| previous != image.target.digest);
        let kind = if is_moved { EventKind::NameMoved } else { EventKind::NameSet };
        self.events().begin(|| Event { previous, ..Event::of_image(kind, image, image.updated_ns) })
    }

    /// Change the target or the labels of a name, and return the new image; on return the change survives a power loss.
    ///
    /// With `expected`, the name is changed only if its target has that digest.
    pub fn update_image(&self, name: &str, change: &Change, expected: Option<&str>) -> Result<Image> {
        self.check_writable()?;
        let now = self.sys.now_ns();
        let mut begun = None;
        let image = self.meta.change_images(|names| {
            let mut image = match held(names.get(name)?, name, expected) {
                Ok(image) => image,
                Err(error) => return Ok(Err(error)),
            };
            let previous = image.target.digest;
            if let Some(target) = &change.target {
                image.target.clone_from(target);
            }
            match &change.labels {
                None => {}
                Some((labels, None)) => image.labels.clone_from(labels),
                Some((labels, Some(keys))) => {
                    for key in keys {
                        match labels.get(key) {
                            Some(value) => image.labels.insert(key.clone(), value.clone()),
                            None => image.labels.remove(key),
                        };
                    }
                }
            }
            if let Err(error) = check_labels(&image.labels) {
                return Ok(Err(error));
            }
            // The time always increases, even if the clock stands still or was set back.
            image.updated_ns = now.max(image.updated_ns.saturating_add(STEP_NS));
            names.put(&image);
            begun = self.begin_name(&image, Some(previous));
            Ok(Ok(image))
        })?;
        done(begun);
        Ok(image)
    }

    /// Return the image of a name.
    pub fn image(&self, name: &str) -> Result<Image> {
        self.check_open()?;
        self.meta.image(name)?.ok_or_else(|| no_image(name))
    }

    /// Return the names that match, in order.
    pub fn images(&self, filter: &Filter) -> Result<Vec<Image>> {
        self.check_open()?;
        let mut images = self.meta.images()?;
        images.retain(|image| filter.matches(image));
        Ok(images)
    }

    /// Remove a name; with `expected`, only if its target has that digest. On return the removal survives a power loss.
    pub fn delete_image(&self, name: &str, expected: Option<&str>) -> Result<()> {
        self.check_writable()?;
        let mut begun = None;
        self.with_reserve(|| {
            self.meta.change_images(|names| {
                Ok(held(names.get(name)?, name, expected).map(|image| {
                    names.remove(name);
                    let event = || Event::of_image(EventKind::NameRemoved, &image, self.sys.now_ns());
                    begun = self.events().begin(event);
                }))
            })
        })?;
        done(begun);
        Ok(())
    }
}

fn held(image: Option<Image>, name: &str, expected: Option<&str>) -> Result<Image> {
    let image = image.ok_or_else(|| no_image(name))?;
    let actual = image.target.digest.to_string();
    match expected {
        Some(expected) if expected != actual => {
            Err(Error::NameMoved { name: name.to_owned(), expected: expected.to_owned(), actual })
        }
        _ => Ok(image),
    }
}

fn no_image(name: &str) -> Error {
    Error::NotFound { kind: "image name", name: name.to_owned() }
}

fn taken_by(image: &Image) -> Error {
    Error::NameTaken { name: image.name.clone(), digest: image.target.digest.to_string() }
}
