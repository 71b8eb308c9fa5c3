//! Routes without an encoder: a text's vector is the mean of its tokens' rows of a table, or its sparse vector holds one
//! weight for each id. Nothing here touches a device; answers are made while a batch is laid out.

mod table;

use std::{path::Path, sync::Arc};

pub(crate) use table::{SparseTable, Table};

use crate::{
    error::LoadError,
    folder::{RouteInput, Routes},
    item::{ItemFault, Output, Want, WorkItem},
};

/// The numbers of one route.
#[derive(Debug)]
enum RouteTable {
    Dense(Table),
    Sparse(SparseTable),
    /// An encoder's.
    Elsewhere,
}

/// The tables of a model's routes.
#[derive(Debug)]
pub(crate) struct Lookup {
    routes: Arc<Routes>,
    /// One a route.
    numbers: Vec<RouteTable>,
}

impl Lookup {
    /// Reads the tables of the routes that have one; `None` where no route has.
    pub(crate) fn open(routes: &Arc<Routes>) -> Result<Option<Self>, LoadError> {
        let mut numbers = Vec::with_capacity(routes.all().len());
        for route in routes.all() {
            numbers.push(match &route.input {
                RouteInput::Encoder { .. } => RouteTable::Elsewhere,
                RouteInput::Static(folder) => {
                    let table = Table::open(folder)?;
                    route
                        .chain
                        .width(table.width())
                        .map_err(|why| LoadError::invalid(&folder.join("model.safetensors"), why))?;
                    RouteTable::Dense(table)
                }
                RouteInput::SparseStatic(folder) => RouteTable::Sparse(SparseTable::open(folder)?),
            });
        }
        let some = numbers.iter().any(|n| !matches!(n, RouteTable::Elsewhere));
        Ok(some.then(|| Self { routes: Arc::clone(routes), numbers }))
    }

    /// Rows of the table of a role's route, and numbers in its vectors; `None` where it has no dense table.
    pub(crate) fn dense(&self) -> Option<&Table> {
        self.numbers.iter().find_map(|n| match n {
            RouteTable::Dense(table) => Some(table),
            _ => None,
        })
    }

    /// Checks that the vectors of all tables are of `dimensions` numbers: they are compared with one another, and with an
    /// encoder's.
    pub(crate) fn check_width(&self, dimensions: usize, root: &Path) -> Result<(), LoadError> {
        for (route, numbers) in self.routes.all().iter().zip(&self.numbers) {
            let RouteTable::Dense(table) = numbers else { continue };
            let width = route.chain.width(table.width());
            let width = width.map_err(|why| LoadError::invalid(&root.join("router_config.json"), why))?;
            if width != dimensions {
                return Err(LoadError::invalid(
                    &root.join("router_config.json"),
                    format!(
                        "one route ({}) gives vectors of {width} numbers, another of {dimensions}: they cannot be compared",
                        route.modules.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Rows of a route's table.
    pub(crate) fn rows(&self, route: usize) -> Option<usize> {
        match self.numbers.get(route)? {
            RouteTable::Dense(table) => Some(table.rows()),
            RouteTable::Sparse(table) => Some(table.rows()),
            RouteTable::Elsewhere => None,
        }
    }

    /// The answer to an item, where its route has a table.
    pub(crate) fn answer(&self, item: &WorkItem) -> Option<Result<Output, ItemFault>> {
        let sequence = &item.sequence;
        let place = self.routes.place(sequence.role)?;
        let route = self.routes.of(sequence.role)?;
        Some(match (self.numbers.get(place)?, item.want) {
            (RouteTable::Elsewhere, _) => return None,
            (RouteTable::Dense(table), Want::Embedding(spec)) => table
                .mean(&sequence.ids)
                .and_then(|mean| route.chain.vector_of_mean(mean, sequence, &spec))
                .map(Output::Embedding),
            (RouteTable::Dense(table), Want::TokenEmbeddings) => table
                .states(&sequence.ids)
                .and_then(|states| route.chain.tokens(&states, table.width(), sequence))
                .map(Output::TokenEmbeddings),
            (RouteTable::Sparse(table), Want::Sparse) => {
                table.weights(&sequence.ids, route.sparse.unwrap_or_default().most).map(Output::Sparse)
            }
            (_, want) => Err(ItemFault::WrongWant(want.name())),
        })
    }
}
