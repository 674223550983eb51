//! A real Docker of one machine, and Docker Compose: what `docker-compose.yml` is started with.
//!
//! It runs [`Apart`], and reaches what this machine reaches, since images are built there. Those that the project builds on are made from
//! packages (`deploy/compose/bases`); nothing is pulled. What it made it keeps in `.cache`, so that only the first time takes long.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    apart::Apart,
    binaries::{prepared, project_root},
    process::text_of,
    run::Run,
};

/// What all images begin with, as `docker/Dockerfile` names it.
pub const DEBIAN: &str = "debian:12.12-slim";

/// A running Docker.
#[derive(Debug)]
pub struct Docker {
    directory: PathBuf,
    images: PathBuf,
    machine: Apart,
}

impl Docker {
    /// Starts one, and makes the images that the project's own begin with.
    ///
    /// # Panics
    /// When it cannot be prepared, or does not come up in time.
    pub async fn start() -> Self {
        let [compose, debian, context] = prepared("prepare-compose");
        let directory = Run::this().part("docker");
        let plugins = directory.join("cli-plugins");
        fs::create_dir(&plugins).expect("a directory can be made");
        std::os::unix::fs::symlink(compose, plugins.join("docker-compose"))
            .expect("a link can be made");
        let images = project_root().join(".cache/docker");
        let mut machine = Apart::start("compose/docker", &directory, &[&images]).await;
        machine.let_out();
        machine.wait_up().await;
        let docker = Self {
            directory,
            images,
            machine,
        };
        docker.make_bases(&debian, &context);
        docker
    }

    /// What a command of a person at this Docker prints, such as `docker compose up`, or its complaint.
    ///
    /// # Errors
    /// When it does not succeed.
    ///
    /// # Panics
    /// When there is no such program.
    pub fn run(&self, command: &[&str]) -> Result<String, String> {
        text_of(&self.command(command).output().expect("it can be run"))
    }

    /// What the page at `url` is, as a program of that machine sees it.
    ///
    /// # Errors
    /// When it is not there.
    ///
    /// # Panics
    /// When there is no Python.
    pub fn page(&self, url: &str) -> Result<String, String> {
        let script = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).read().decode())";
        let mut python = self.machine.command("python3");
        text_of(
            &python
                .args(["-c", script, url])
                .output()
                .expect("python3 can be run"),
        )
    }

    /// Where the files of a volume of the project's compose file are.
    #[must_use]
    pub fn volume(&self, name: &str) -> PathBuf {
        self.images.join(format!("volumes/cutline_{name}/_data"))
    }

    fn command(&self, command: &[&str]) -> Command {
        let [program, arguments @ ..] = command else {
            panic!("no command");
        };
        let files = [
            "docker-compose.yml",
            "integration-tests/deploy/compose/here.yml",
        ];
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(project_root())
            .env("DOCKER_HOST", self.host())
            .env("DOCKER_CONFIG", &self.directory)
            .env("COMPOSE_FILE", files.join(":"))
            // Buildx is a program of its own, which is not there.
            .env("COMPOSE_BAKE", "false");
        command
    }

    fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.display())
    }

    fn make_bases(&self, debian: &Path, context: &Path) {
        // The name of the tar tells what is in it.
        let made = debian.file_stem().expect("a tar has a name");
        let tag = format!("cutline-base:{}", made.display());
        if self.run(&["docker", "image", "inspect", &tag]).is_err() {
            let tar = debian.display().to_string();
            self.done(&["docker", "import", &tar, &tag]);
        }
        self.done(&["docker", "tag", &tag, DEBIAN]);
        let deploy = project_root().join("integration-tests/deploy/compose");
        let mut build = self.command(&["docker", "compose", "build"]);
        build
            .current_dir(&deploy)
            .env("COMPOSE_FILE", deploy.join("bases.yml"))
            .env("CONTEXT", context)
            .env("BASES", deploy.join("bases"));
        let built = text_of(&build.output().expect("docker can be run"));
        built.unwrap_or_else(|complaint| panic!("the base images: {complaint}"));
    }

    fn done(&self, command: &[&str]) {
        let done = self.run(command);
        done.unwrap_or_else(|complaint| panic!("{}: {complaint}", command.join(" ")));
    }
}
