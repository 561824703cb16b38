import java.io.PrintStream;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/** Runs one class of JUnit tests and says how each test ended. */
public class JUnit extends RunListener {
  private final PrintStream results;
  private String result;

  private JUnit(PrintStream results) {
    this.results = results;
  }

  @Override
  public void testStarted(Description test) {
    result = "pass";
    System.out.println("# " + test.getDisplayName());
  }

  @Override
  public void testFailure(Failure failure) {
    result = "fail";
    System.out.println(failure.getTrace());
    if (failure.getDescription().isSuite()) testFinished(failure.getDescription());
  }

  @Override
  public void testAssumptionFailure(Failure failure) {
    result = "skip";
    if (failure.getDescription().isSuite()) testFinished(failure.getDescription());
  }

  @Override
  public void testIgnored(Description test) {
    result = "skip";
    testFinished(test);
  }

  @Override
  public void testFinished(Description test) {
    String name = test.getClassName() + (test.getMethodName() == null ? "" : "." + test.getMethodName());
    results.println(result + " " + name);
    results.flush();
  }

  public static void main(String[] classes) throws Exception {
    JUnitCore core = new JUnitCore();
    core.addListener(new JUnit(System.out));
    // Whatever the tests print goes where errors go.
    System.setOut(System.err);
    core.run(Class.forName(classes[0]));
    System.exit(0);
  }
}
