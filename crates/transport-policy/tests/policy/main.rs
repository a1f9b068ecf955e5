//! Policies fetched from a signed world, and judged over real TLS handshakes.

mod dane;
mod fetching;
mod matrix;
mod remembered;
mod world;
