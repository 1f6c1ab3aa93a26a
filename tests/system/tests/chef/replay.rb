# What chef-client does with a recipe of `dnf_package` and `file` resources, without Chef: the questions that its provider
# asks of a Python process that lives as long as the run, and the commands that it runs in between, in their order.
#
#   ruby replay.rb RECIPE VALUES       VALUES is JSON: {"packages": [...], "pkgtorrent_service": URL}

require 'io/nonblock'
require 'json'
require 'open3'

# The process that answers questions about packages: one line of JSON each, over two pipes of their own.
class Answers
  PYTHONS = %w(/usr/libexec/platform-python /usr/bin/python3).freeze

  def ask(action, name)
    start unless @pid
    @questions.puts JSON.generate('action' => action, 'provides' => name)
    answer = @answers.gets or raise "no answer to #{action} of #{name}"
    answer.split.map { |word| word == 'nil' ? nil : word }
  end

  # Also how the provider makes it look again after each transaction.
  def stop
    return unless @pid

    Process.kill('INT', @pid)
    Process.wait(@pid)
    raise "the answering process ends badly: #{$?}" unless $?.success?

    @questions.close
    @answers.close
    @pid = nil
  end

  private

  def start
    python = PYTHONS.find { |path| system(path, '-c', 'import dnf', err: File::NULL) } or raise 'no python has dnf'
    theirs, @questions = IO.pipe
    theirs.nonblock = false # Ruby's pipes do not wait by themselves, and python would take that for the end.
    @answers, ours = IO.pipe
    command = [python, File.join(__dir__, 'answers.py'), theirs.fileno.to_s, ours.fileno.to_s]
    @pid = Process.spawn(*command, theirs => theirs, ours => ours)
    theirs.close
    ours.close
  end
end

# What the recipe may say.
class Recipe
  attr_reader :node

  def initialize(values)
    @answers = Answers.new
    @node = { 'pkgtorrent' => { 'service' => values['pkgtorrent_service'], 'packages' => values['packages'] } }
  end

  def run(path)
    instance_eval(File.read(path), path)
  ensure
    @answers.stop
  end

  # All names of one resource are one command; what is there already is not named.
  def dnf_package(names)
    missing = names.reject { |name| @answers.ask('whatinstalled', name)[1] }
    wanted = missing.map do |name|
      found, version, arch = @answers.ask('whatavailable', name)
      raise "no candidate for #{name}" unless version

      "#{found}-#{version}.#{arch}"
    end
    return if wanted.empty?

    output, status = Open3.capture2e('dnf', '-y', 'install', *wanted)
    puts output
    raise "dnf failed: #{status}" unless status.success?

    @answers.stop
    missing.each { |name| @answers.ask('whatinstalled', name)[1] or raise "#{name} is not installed" }
  end

  def file(path, &properties)
    FileResource.new(path, node).instance_eval(&properties)
  end

  # Just what the recipe sets of it.
  FileResource = Struct.new(:path, :node) do
    def mode(mode)
      File.open(path, 'a').chmod(mode.to_i(8))
    end

    def content(text)
      File.write(path, text)
    end
  end
end

Recipe.new(JSON.parse(ARGV[1])).run(ARGV[0])
