//! What the vendor means: recognises a record and maps it to ECS fields and activities.

pub mod file;
