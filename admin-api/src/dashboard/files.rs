//! The list of the dashboard's files, as they are compiled into the program.
//!
//! What stands beside this file in `assets/` and not in this list is not served.

use super::File;

/// The one that is a page.
pub(super) const PAGE: &str = "index.html";

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const PICTURE: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        &[$(File { name: $name, kind: $kind, body: include_str!(concat!("assets/", $name)) }),*]
    };
}

/// Every file.
pub(super) const FILES: &[File] = files![
    "index.html" HTML,
    "base.css" STYLE,
    "forms.css" STYLE,
    "parts.css" STYLE,
    "pictures.css" STYLE,
    "activity.js" SCRIPT,
    "api.js" SCRIPT,
    "checkpoint.js" SCRIPT,
    "checkpoints.js" SCRIPT,
    "codes.js" SCRIPT,
    "dialog.js" SCRIPT,
    "difference.js" SCRIPT,
    "dom.js" SCRIPT,
    "events.js" SCRIPT,
    "gantt.js" SCRIPT,
    "graph.js" SCRIPT,
    "header.js" SCRIPT,
    "layout.js" SCRIPT,
    "login.js" SCRIPT,
    "main.js" SCRIPT,
    "me.js" SCRIPT,
    "notice.js" SCRIPT,
    "overview.js" SCRIPT,
    "plan.js" SCRIPT,
    "problem.js" SCRIPT,
    "quantity.js" SCRIPT,
    "restorable.js" SCRIPT,
    "restore.js" SCRIPT,
    "restores.js" SCRIPT,
    "role.js" SCRIPT,
    "schedule.js" SCRIPT,
    "sidecars.js" SCRIPT,
    "status.js" SCRIPT,
    "steps.js" SCRIPT,
    "stream.js" SCRIPT,
    "table.js" SCRIPT,
    "take.js" SCRIPT,
    "topology.js" SCRIPT,
    "trend.js" SCRIPT,
    "wizard.js" SCRIPT,
    "world.js" SCRIPT,
    "icon.svg" PICTURE,
];
