//! Where a service keeps its shards: a directory, or a PostgreSQL database.
//!
//! `save` makes a batch's shards lasting, all or none where the place can do that. Nothing is cached: what the place says is the state, so
//! that whoever puts another one there is believed. Several instances may share a place, each writing the shards assigned to it.

mod database;
mod files;
mod keys;

use std::{error::Error, path::Path};

use database::Database;
use files::Files;

use crate::shard::Shard;

/// A service's shards.
pub enum Ledger {
    /// Files in a directory.
    Files(Files),
    /// Tables of a PostgreSQL database.
    Database(Box<Database>),
}

impl Ledger {
    /// The ledger at `place`: a directory, which is made when missing, or `postgres://…`.
    ///
    /// # Errors
    /// When it cannot be opened or made.
    pub fn open(place: &str) -> Result<Self, Box<dyn Error>> {
        if is_database(place) {
            return Ok(Self::Database(Box::new(Database::open(place)?)));
        }
        Ok(Self::Files(Files::open(Path::new(place))?))
    }

    /// A shard as it is kept, or a new one where there is none.
    ///
    /// # Errors
    /// When it cannot be read or is no shard.
    pub fn load(&mut self, name: &str) -> Result<Shard, Box<dyn Error>> {
        match self {
            Self::Files(files) => Ok(files.load(name)?),
            Self::Database(database) => database.load(name),
        }
    }

    /// Replaces these shards.
    ///
    /// # Errors
    /// When one cannot be written. In a directory some may have been replaced.
    pub fn save<'a>(
        &mut self,
        shards: impl Iterator<Item = &'a Shard> + Clone,
    ) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Files(files) => Ok(files.save(shards)?),
            Self::Database(database) => database.save(shards),
        }
    }
}

/// Every shard kept at `place`: a directory, `postgres://…`, or the Redis of bank B as `redis://…?prefix=…`.
///
/// # Errors
/// When it cannot be read.
pub fn read_all(place: &str) -> Result<Vec<Shard>, Box<dyn Error>> {
    if place.starts_with("redis://") {
        return keys::read_all(place);
    }
    if is_database(place) {
        return Database::open(place)?.all();
    }
    Ok(Files::open(Path::new(place))?.all()?)
}

fn is_database(place: &str) -> bool {
    place.starts_with("postgres://") || place.starts_with("postgresql://")
}
