//! Names within an archive: relative and without `..`; the targets of links are such names too.

use super::merge::Agreed;
use super::{Fault, Kind, shown};

/// The most bytes of a name: the same as for a path on Linux.
const LONGEST: usize = 4096;

/// Return an entry's name and, for a link, the name of its target.
pub(super) fn resolve(agreed: &Agreed) -> Result<(String, Option<String>), Fault> {
    let Agreed { kind, name, target, .. } = agreed;
    if *kind != Kind::Directory && name.ends_with(b"/") {
        return Err(Fault::new(format!("a {} whose name does not end in a slash", kind.name()), shown(name)));
    }
    let name = join(Vec::new(), check(name, "name")?, false)?;
    if name.is_empty() && *kind != Kind::Directory {
        return Err(Fault::new("a name", "an empty one"));
    }
    let target = match kind {
        Kind::Regular | Kind::Directory => None,
        Kind::Hardlink => Some(join(Vec::new(), check(target, "link target")?, false)?),
        Kind::Symlink => {
            let mut base: Vec<&str> = name.split('/').collect();
            base.pop();
            Some(join(base, check(target, "link target")?, true)?)
        }
    };
    Ok((name, target))
}

/// Return the normal form of a name: without empty and `.` components.
pub(super) fn relative(name: &str) -> Result<String, Fault> {
    join(Vec::new(), check(name.as_bytes(), "name")?, false)
}

fn check<'a>(name: &'a [u8], what: &str) -> Result<&'a str, Fault> {
    if name.len() > LONGEST {
        return Err(Fault::new(format!("a {what} of at most {LONGEST} bytes"), format!("{} bytes", name.len())));
    }
    let text = std::str::from_utf8(name).map_err(|_| Fault::new(format!("a {what} in UTF-8"), shown(name)))?;
    if text.starts_with('/') {
        return Err(Fault::new(format!("a relative {what}"), shown(name)));
    }
    Ok(text)
}

/// Walk from `base` along `path`. Only a symbolic link may contain `..` (`upwards`), and it must not leave the archive.
fn join<'a>(mut base: Vec<&'a str>, path: &'a str, upwards: bool) -> Result<String, Fault> {
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if !upwards => return Err(Fault::new("a name without \"..\"", shown(path.as_bytes()))),
            ".." => {
                base.pop().ok_or_else(|| Fault::new("a link that stays in the archive", shown(path.as_bytes())))?;
            }
            name => base.push(name),
        }
    }
    Ok(base.join("/"))
}
