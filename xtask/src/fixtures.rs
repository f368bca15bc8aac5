//! `fixtures`: writes the data directories of this version anew, and checks all there are.

use anyhow::Result;
use quorate_e2e::cluster::command::visible;

use crate::workspace::cargo;

pub(crate) fn run() -> Result<()> {
    let test = ["test", "--quiet", "-p", "quorate-node", "--test", "fixtures"];
    visible(cargo(test).arg("every_fixture").env("QUORATE_WRITE_FIXTURES", "1"))?;
    visible(&mut cargo(test))
}
