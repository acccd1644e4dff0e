//! System calls that fail, and the order of those that make things durable.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use steelyard_core::digest::Digest;
use steelyard_core::store::Store;
use steelyard_core::sys::{Around, Call, Fault, Faulty, Layer, Linux, Naming, Op, Sys};

use crate::common::Scratch;
use crate::support::{NOW, collect, image, name, run, sorted, stored};

/// A store with an image that is kept and two that are garbage.
fn prepare(store: &Store) -> (Vec<Digest>, [[Digest; 3]; 2]) {
    let kept = image(store, "kept");
    name(store, "kept", kept[0]);
    (kept.to_vec(), ["one", "two"].map(|text| image(store, text)))
}

#[test]
fn any_system_call_may_fail_and_nothing_that_is_needed_goes() {
    let mut done = 0;
    for make in [|at| Fault::Once(at, libc::EIO), |at| Fault::From(at, libc::ENOSPC)] {
        for at in 1.. {
            let scratch = Scratch::in_memory();
            let faulty = Faulty::over(Arc::new(Linux));
            let store = scratch.open_with(faulty.clone()).unwrap();
            let (kept, garbage) = prepare(&store);
            faulty.set(Some(make(at)));
            let result = store.collection(NOW).and_then(run);
            let calls = faulty.calls();
            faulty.set(None);
            drop(store);

            let store = scratch.open();
            let there = stored(&store);
            assert!(kept.iter().all(|digest| there.contains(digest)), "{at}: {result:?}");
            for blobs in garbage {
                let is_left = there.contains(&blobs[0]);
                assert!(!is_left || blobs.iter().all(|blob| there.contains(blob)), "{at}: {result:?}");
            }
            collect(&store, NOW).unwrap();
            assert_eq!(sorted(kept), stored(&store), "{at}");
            done += 1;
            if at > calls {
                assert!(result.is_ok(), "{result:?}");
                break;
            }
        }
    }
    assert!(done > 50, "{done}");
}

/// Notes renames, removals and syncs of directories.
#[derive(Default)]
struct Notes(Mutex<Vec<(Op, String)>>);

impl Around for Notes {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if matches!(call.op, Op::Rename | Op::Unlink | Op::SyncDir) {
            self.0.lock().unwrap().push((call.op, call.name.to_owned()));
        }
        run()
    }
}

#[test]
fn a_document_is_gone_for_good_before_a_blob_that_it_names_and_before_its_file_is_removed() {
    let scratch = Scratch::new();
    let sys = Arc::new(Layer::new(Arc::new(Linux), Notes::default()));
    let store = scratch.open_with(Arc::clone(&sys) as _).unwrap();
    let [manifest, one, two] = image(&store, "a");
    collect(&store, crate::support::LATER).unwrap();
    sys.around.0.lock().unwrap().clear();

    assert_eq!(3, collect(&store, NOW).unwrap().0.blobs);

    let noted = sys.around.0.lock().unwrap();
    let place = |wanted: Op, digest: &Digest| {
        noted.iter().position(|(op, name)| *op == wanted && name.starts_with(&digest.encoded())).unwrap()
    };
    let syncs = |from: usize, to: usize| noted[from..to].iter().filter(|(op, _)| *op == Op::SyncDir).count();
    let gone = place(Op::Rename, &manifest);
    for layer in [&one, &two] {
        // The directory that has the new name, and the one that had the old one.
        assert!(syncs(gone, place(Op::Rename, layer)) >= 2, "{noted:?}");
        assert!(syncs(place(Op::Rename, layer), place(Op::Unlink, layer)) >= 2, "{noted:?}");
    }
    assert!(syncs(gone, place(Op::Unlink, &manifest)) >= 2, "{noted:?}");
    // Where an inode may be used again before the removal of its name is durable, that is synced too.
    let naming = Linux.naming(std::fs::File::open(&scratch.path).unwrap().as_fd()).unwrap();
    let removed = [&manifest, &one, &two].map(|digest| place(Op::Unlink, digest)).into_iter().max().unwrap();
    assert_eq!(usize::from(naming == Naming::Everything), syncs(removed, noted.len()), "{noted:?}");
}
