//! The conditions of a collection, and its beginning.

use std::sync::Arc;

use super::collection::Collection;
use super::condemn;
use super::slice::Slice;
use super::values::Options;
use crate::error::{At, Error, Result};
use crate::format::names::LAYOUT_INDEX;
use crate::store::Store;
use crate::sys::found;
use crate::volume::Volume;
use crate::volume::adopt;
use crate::volume::boot_clock::BootClock;
use crate::volume::lock::{NoService, Service};
use crate::volume::meta::Start;

/// The advice if another program collects.
const TAKE_BACK: &str = "if it no longer does, look at a dry run, and then take the store back (`take_back`)";

/// The advice if roots may be missing.
const ACCEPT: &str = "look at a dry run, and then accept the roots that are left (`accept_roots`)";

impl Store {
    /// Begin a collection. Refused if the store cannot know which blobs are needed.
    pub fn collection(&self, options: Options) -> Result<Collection> {
        let volume = Arc::clone(&self.volume);
        volume.check_writable()?;
        // A dry run only reads, so it may run beside a collection.
        let lock = if options.dry_run { None } else { volume.locks.try_collector()? };
        if lock.is_none() && !options.dry_run {
            return Err(Error::CollectionBusy { holder: holder(&volume)? });
        }
        volume.locks.check_file(volume.root.dir())?;
        let _taken_back = take_back(&volume, options)?;
        let (id, reason) = roots(&volume)?;
        if let Some(reason) = reason
            && !options.accept_roots
            && !options.dry_run
        {
            return Err(refused(&volume, "roots", format!("{reason}; {ACCEPT}")));
        }
        let begin = || start(&volume, options, id.as_deref());
        let number = match if options.dry_run { Ok(0) } else { begin() } {
            Err(error) if volume.use_reserve(&error) || (error.is_full() && clean_all(&volume)?) => begin()?,
            other => other?,
        };
        Ok(Collection::new(volume, Arc::clone(&self.ingests), options, lock, number))
    }

    /// Begin to serve the store, until it is closed; see [`Volume::serve`]. A store that collects its own garbage is prepared for that if
    /// nothing else has it open, because its first collection cannot begin while a service has it open.
    pub fn serve(&self, collector: Option<&str>) -> Result<()> {
        let volume = &self.volume;
        volume.serve(collector)?;
        if collector.is_some() || volume.root.is_collected() {
            return Ok(());
        }
        let (Some(_lock), (id, None)) = (volume.locks.try_collector()?, roots(volume)?) else { return Ok(()) };
        match start(volume, Options::default(), id.as_deref()) {
            Ok(number) => volume.meta.end_collection(number),
            Err(Error::CollectionRefused { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Take the right to collect from another program, if one has it and the options request it. Until the result is dropped, no service
/// begins to serve that program.
fn take_back(volume: &Volume, options: Options) -> Result<Option<NoService>> {
    let Some(foreign) = volume.foreign_collector()? else { return Ok(None) };
    if !options.take_back {
        let reason = format!("{foreign} collects the blobs of this store; {TAKE_BACK}");
        return Err(refused(volume, "containerd", reason));
    }
    if options.dry_run {
        return Ok(None);
    }
    let reason = || format!("a service for {foreign} has the store open; end it first");
    let alone = volume.locks.try_alone(Service::Foreign)?;
    alone.map(Some).ok_or_else(|| refused(volume, "open", reason()))
}

/// Remove the blobs that earlier collections have condemned, to free their space. Returns whether there were any.
fn clean_all(volume: &Volume) -> Result<bool> {
    let mut is_any = false;
    while condemn::clean(volume, &Slice::step(volume.sys.as_ref()))? {
        is_any = true;
    }
    Ok(is_any)
}

/// The process that began the latest collection, for messages.
fn holder(volume: &Volume) -> Result<String> {
    let process = volume.meta.collector_process()?;
    Ok(match process {
        Some(number) if number == std::process::id().to_string() => "this process".to_owned(),
        Some(number) => format!("process {number}"),
        None => "unknown".to_owned(),
    })
}

fn refused(volume: &Volume, cause: &'static str, reason: String) -> Error {
    Error::CollectionRefused { path: volume.path().to_owned(), cause, reason }
}

/// Return the ID that the marker and the metadata share, and the reason why roots may be missing, if there is one.
fn roots(volume: &Volume) -> Result<(Option<String>, Option<&'static str>)> {
    let (known, is_lost, accepted) = volume.meta.collectable()?;
    let marker = volume.root.marker()?;
    let expected = marker.and_then(|marker| marker.id);
    let reason = if is_lost {
        Some("the metadata was rebuilt or is new, so image names, labels and leases may be lost")
    } else if expected.is_some() && expected != known {
        Some("meta.db does not belong to steelyard.json, so image names, labels and leases may be lost")
    } else if index(volume)?.is_some_and(|index| accepted != Some(index)) {
        Some("an index.json names images that the store has no names for")
    } else {
        None
    };
    Ok((expected.or(known), reason))
}

/// The identity of the root's `index.json`, if there is one.
fn index(volume: &Volume) -> Result<Option<String>> {
    let stat = found(volume.sys.stat_at(volume.root.dir(), LAYOUT_INDEX));
    let stat = stat.at("stat", || volume.path().join(LAYOUT_INDEX))?;
    Ok(stat.map(|stat| format!("{}-{}-{}", stat.id.inode, stat.mtime_ns, stat.size)))
}

/// Begin the collection in the metadata, and return its number. The first collection needs exclusive access to the store.
fn start(volume: &Volume, options: Options, id: Option<&str>) -> Result<u64> {
    let begin = || {
        let index = index(volume)?;
        let Options { accept_roots: accept, take_back, .. } = options;
        let clock = BootClock::now(volume.sys.as_ref());
        volume.meta.start_collection(&Start { id, accept, take_back, index, clock })
    };
    if volume.root.is_collected() {
        return begin().map(|(number, _)| number);
    }
    let _alone = volume.locks.exclusive_store().map_err(|error| match error {
        Error::Unavailable { .. } => {
            let reason =
                "this is the first collection, and other store objects or processes have the store open; close them";
            refused(volume, "open", reason.to_owned())
        }
        other => other,
    })?;
    let (number, id) = begin()?;
    adopt::raise(&volume.root, &id)?;
    Ok(number)
}
