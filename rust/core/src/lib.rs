//! Steelyard core.
