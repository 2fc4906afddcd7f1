"""`python -m tfrecords.show`, see `tfrecords.show.command`."""

from tfrecords.show import command
from tfrecords.utils import commandline

if __name__ == "__main__":
    command.define_flags()
    commandline.run(command.main, command.__doc__)
