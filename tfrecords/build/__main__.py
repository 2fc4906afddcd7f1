"""`python -m tfrecords.build`, see `tfrecords.build.command`."""

from tfrecords.build import command
from tfrecords.utils import commandline

if __name__ == "__main__":
    command.define_flags()
    commandline.run(command.main, command.__doc__)
