//! Folders as people publish them.
