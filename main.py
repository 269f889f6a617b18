"""Runs the package's command line."""

from autonl_tf.cli.main import run

if __name__ == "__main__":
    run()
