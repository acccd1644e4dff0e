//! The cost of a list of filters: limits for its texts, and a budget for the compilation of its regular expressions.
//!
//! Filters are untrusted. A short regular expression may compile to a large program: `\w{100}` takes 6 MB. So all expressions
//! of a list share one budget, and each may use the part that the ones before it have left.

use std::sync::{Mutex, PoisonError};

use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;

/// The most filters of a list.
pub const MAX_FILTERS: usize = 1000;

/// The most bytes of all texts of a list together.
pub const MAX_TEXT: usize = 32 << 10;

/// The most bytes of one regular expression: parsing takes up to 10 KiB of memory per character.
pub const MAX_EXPRESSION: usize = 2 << 10;

/// The most levels of groups, classes and repetitions inside each other. A group with alternatives counts as three.
pub const MAX_NESTING: u32 = 100;

/// The most bytes of all compiled regular expressions of a list.
pub const MAX_COMPILED: usize = 4 << 20;

/// The most bytes in which one expression caches states; an expression uses at most this memory per thread.
const STATES: usize = 256 << 10;

/// The most bytes of a table for expressions that need no backtracking.
const ONE_PASS: usize = 64 << 10;

/// Expressions that are longer than this, or that take more memory than `CHEAP` to compile, are compiled one at a time.
const SHORT: usize = 64;
const CHEAP: usize = 256 << 10;

/// Held during the compilation of an expensive expression, which may take 20 MiB and a second of processor time. Many clients
/// may send such expressions at the same time.
static COMPILING: Mutex<()> = Mutex::new(());

/// The reason why an expression is refused.
pub(super) type Reason = String;

/// The memory that remains for the expressions of a list.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) const fn new() -> Self {
        Self(MAX_COMPILED)
    }

    /// The bytes that the compiled expressions take.
    pub(super) const fn spent(&self) -> usize {
        MAX_COMPILED - self.0
    }

    /// Compile an expression that matches anywhere in a text.
    pub(super) fn compile(&mut self, expression: &str) -> Result<Regex, Reason> {
        if expression.len() > MAX_EXPRESSION {
            return Err(format!(
                "regular expression of {} bytes, at most {MAX_EXPRESSION} are allowed",
                expression.len()
            ));
        }
        let regex = if expression.len() <= SHORT
            && let Ok(regex) = build(expression, self.0.min(CHEAP))
        {
            regex
        } else {
            let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
            build(expression, self.0)?
        };
        self.0 = self.0.checked_sub(regex.memory_usage()).ok_or_else(too_big)?;
        Ok(regex)
    }
}

fn build(expression: &str, most: usize) -> Result<Regex, Reason> {
    let config = Config::new()
        .nfa_size_limit(Some(most))
        // Only the match is needed. Explicit groups would cost memory for each state.
        .which_captures(WhichCaptures::Implicit)
        .hybrid_cache_capacity(STATES)
        .onepass_size_limit(Some(ONE_PASS));
    let syntax = syntax::Config::new().nest_limit(MAX_NESTING);
    Regex::builder().configure(config).syntax(syntax).build(expression).map_err(|error| reason(&error))
}

fn reason(error: &BuildError) -> Reason {
    if error.size_limit().is_some() {
        return too_big();
    }
    let text = error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string);
    // The last of several lines has the reason.
    let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&text);
    format!("bad regular expression: {reason}")
}

fn too_big() -> Reason {
    format!(
        "bad regular expression: all of a list take at most {} KiB when compiled, with this one they take more",
        MAX_COMPILED >> 10
    )
}
